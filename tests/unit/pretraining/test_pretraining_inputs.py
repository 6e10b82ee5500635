from hardfold.pretraining.inputs import pretraining_inputs


def test_each_kind_of_model_reads_what_it_learns_from():
    data = {"data": "results/pretraining/data"}
    assert pretraining_inputs({"kind": "language"}) == data
    assert pretraining_inputs({"kind": "alignment"}) == data | {"alignments": "results/pretraining/alignments"}
    single = {"kind": "folding", "stem": "esm2", "read_alignments": 0}
    assert pretraining_inputs(single) == data | {"stem": "results/pretraining/runs/esm2"}
    assert "alignments" in pretraining_inputs(single | {"read_alignments": 0.5})
