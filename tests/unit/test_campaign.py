"""The list scheduler of the simulated campaign, on DAGs made by hand."""

import pytest
from campaign import Cluster, in_use, simulate
from job_costs import Job, fit

LIMITS = {"queue": 100, "starts": float("inf"), "start_s": 0.0, "seen_s": 0.0, "local_cores": 1}


def job(*needs, threads=1, gpus=0, local=False):
    return Job("rule", "rule", {}, threads, 1000, gpus, 0, local, needs, (), (), 0)


def cluster(*nodes, **limits):
    return Cluster(nodes, **(LIMITS | limits))


def test_a_chain_takes_the_sum_and_what_is_independent_runs_at_once():
    jobs = [job(), job(), job(0, 1)]
    run = simulate(jobs, [5, 3, 2], cluster((1, 2, 9000, 0)))
    assert run.began == pytest.approx([0, 0, 5]) and run.seconds == pytest.approx(7)
    run = simulate(jobs, [5, 3, 2], cluster((1, 1, 9000, 0)))
    assert run.began == pytest.approx([0, 5, 8]) and run.seconds == pytest.approx(10)


@pytest.mark.parametrize("node", [(1, 4, 9000, 1), (1, 1, 9000, 2), (1, 4, 1000, 2), (2, 1, 1000, 1)])
def test_cores_memory_and_gpus_each_limit_what_runs_at_once(node):
    run = simulate([job(gpus=1), job(gpus=1)], [4, 4], cluster(node))
    assert run.seconds == pytest.approx(4 if node[0] == 2 else 8)


def test_a_job_that_no_node_holds_is_refused():
    with pytest.raises(ValueError, match="no node has 3 cores"):
        simulate([job(threads=3)], [1], cluster((5, 2, 9000, 0)))


def test_the_queue_the_rate_of_starts_and_late_news_hold_jobs_back():
    wide, nodes = [job() for _ in range(6)], (1, 100, 99000, 0)
    assert simulate(wide, [10] * 6, cluster(nodes, queue=2)).seconds == pytest.approx(30)
    assert simulate(wide, [10] * 6, cluster(nodes, starts=2)).seconds == pytest.approx(13)
    chain = [job(), job(0), job(1)]
    assert simulate(chain, [10] * 3, cluster(nodes, seen_s=20, start_s=1)).seconds == pytest.approx(73)


def test_local_jobs_run_where_snakemake_does():
    run = simulate([job(local=True), job(local=True), job()], [4, 4, 4], cluster((1, 1, 9000, 0), seen_s=9, start_s=1))
    assert run.ended == pytest.approx([4, 8, 5])
    run = simulate([job(), job(local=True)], [9, 1], cluster((1, 1, 9000, 0), queue=1))
    assert run.began == [0, 0]  # they take no place in the queue


def test_a_small_job_goes_before_a_large_one_that_finds_no_room():
    run = simulate([job(), job(threads=2), job()], [10, 5, 3], cluster((1, 2, 9000, 0)))
    assert run.began == pytest.approx([0, 10, 0])


def test_cores_in_use_over_time():
    jobs = [job(threads=2), job(), job(0)]
    run = simulate(jobs, [5, 3, 2], cluster((1, 3, 9000, 0)))
    times, cores = in_use(jobs, run, lambda job: job.threads)
    assert times == [0, 3, 5, 7] and cores == [3, 2, 1, 0]


def test_costs_are_a_start_and_a_slope_neither_below_zero():
    assert fit([10.0, 20.0, 40.0], [7, 12, 22]) == pytest.approx((2, 0.5))
    assert fit([10.0, 20.0], [1, 9])[0] == 0
    assert fit([10.0, 10.0], [4, 6]) == pytest.approx((0, 0.5))
    assert fit([1.0, 1.0], [4, 6]) == pytest.approx((5, 0))
