from hardfold.pretraining.inputs import excluded_files, pretraining_inputs


def test_each_kind_of_model_reads_what_it_learns_from():
    data = {"data": "results/pretraining/data"}
    assert pretraining_inputs({"kind": "sequence"}) == data
    assert pretraining_inputs({"kind": "alignment"}) == data | {"alignments": "results/pretraining/alignments"}
    single = {"kind": "folding", "stem": "esm2", "read_alignments": 0}
    assert pretraining_inputs(single) == data | {"stem": "results/pretraining/runs/esm2"}
    assert "alignments" in pretraining_inputs(single | {"read_alignments": 0.5})


def test_a_new_file_in_an_excluded_folder_is_a_new_input(tmp_path):
    (tmp_path / "natives").mkdir()
    for name in ("casp.fasta", "natives/T1.pdb", "natives/T2.pdb"):
        (tmp_path / name).touch()
        files = excluded_files({"CASP": [f"{tmp_path}/casp.fasta", f"{tmp_path}/natives"], "none": []})
        assert f"{tmp_path}/{name}" in files
    assert len(files) == 3
