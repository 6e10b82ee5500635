"""A run simulated on a cluster: the jobs of its DAG, each as long as measured, placed by a list scheduler."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from job_costs import JOB, UNITS, Job, Size


@dataclass(frozen=True)
class Cost:
    """What a job of a kind costs and what each unit more: core-seconds, bytes, files."""

    start_s: float
    unit_s: float
    start_bytes: float
    unit_bytes: float
    files: float
    unit_files: float


@dataclass(frozen=True)
class Cluster:
    """Nodes as (how many, cores, MB, GPUs); `queue`: submitted jobs that Snakemake has not seen end; `starts` a
    second; `start_s` of each job before its work; `seen_s` until Snakemake learns of its end; `local_cores` where
    Snakemake runs, for rules that are not submitted."""

    nodes: tuple[tuple[int, int, int, int], ...]
    queue: int
    starts: float
    start_s: float
    seen_s: float
    local_cores: int


@dataclass(frozen=True)
class Run:
    """When each job began and ended, in seconds."""

    began: list[float]
    ended: list[float]

    @property
    def seconds(self) -> float:
        return max(self.ended)


def units(job: Job, size: Size) -> float:
    return UNITS.get(job.rule, JOB)[1](job, size)


def core_seconds(job: Job, size: Size, costs: Mapping[str, Cost]) -> float:
    """A rule without a row does nothing: it collects others (`all`)."""
    cost = costs.get(job.kind)
    return cost.start_s + cost.unit_s * units(job, size) if cost else 0.0


def duration(job: Job, core_s: float, gpu_speed: float) -> float:
    """Seconds of a job: searches use all of their cores, GPU jobs take core-seconds over `gpu_speed` cores; the other
    rules with several threads were timed by the wall clock."""
    if job.gpus:
        return core_s / gpu_speed
    return core_s / job.threads if job.rule == "search_alignments" else core_s


def stored(jobs: Iterable[Job], size: Size, costs: Mapping[str, Cost]) -> tuple[float, float]:
    """Bytes and files of all outputs, logs and benchmarks (these of one block, 4 KiB)."""
    found = [(job, costs[job.kind], units(job, size)) for job in jobs if job.kind in costs]
    content = sum(cost.start_bytes + cost.unit_bytes * count + 4096 * len(job.others) for job, cost, count in found)
    return content, sum(cost.files + cost.unit_files * count + len(job.others) for job, cost, count in found)


def files_by_folder(jobs: Iterable[Job]) -> Counter:
    """Folder -> the outputs, logs and benchmarks that the rules put straight into it."""
    return Counter(str(PurePath(path).parent) for job in jobs for path in job.outputs + job.others)


def simulate(jobs: list[Job], seconds: list[float], cluster: Cluster) -> Run:
    """Submit what is ready, as the queue allows, first come first served; start each on the first node with room, later
    ones before it where it finds none. Raises ValueError for a job that no node can hold."""
    free = [[cores, memory, gpus] for count, cores, memory, gpus in cluster.nodes for _ in range(count)]
    local = [[cluster.local_cores, float("inf"), 0]]
    wants = [(job.threads, job.memory_mb, 0 if job.local else job.gpus) for job in jobs]
    for job, want in zip(jobs, wants, strict=True):
        if not any(_fits(node, want) for node in (local if job.local else free)):
            raise ValueError(f"{job.kind}: no node has {want[0]} cores, {want[1]} MB and {want[2]} GPUs")
    followers = defaultdict(list)
    for number, job in enumerate(jobs):
        for need in job.needs:
            followers[need].append(number)
    left = [len(job.needs) for job in jobs]
    ready = {kind: [n for n, job in enumerate(jobs) if not job.needs and job.local == kind] for kind in (True, False)}
    began, ended, place = [0.0] * len(jobs), [0.0] * len(jobs), {}
    pending, events, in_queue, next_start, now = [], [], 0, 0.0, 0.0
    while events or any(ready.values()):
        while ready[True] or (ready[False] and in_queue < cluster.queue):
            number = heapq.heappop(ready[True] or ready[False])
            next_start = max(now, next_start) + 1 / cluster.starts
            heapq.heappush(events, (next_start, number, "queued"))
            in_queue += not jobs[number].local
        now, number, what = heapq.heappop(events)
        if what == "queued":
            pending.append(number)
        elif what == "ended":
            ended[number] = now
            _take(place.pop(number), wants[number], -1)
            heapq.heappush(events, (now + (0 if jobs[number].local else cluster.seen_s), number, "seen"))
        else:
            in_queue -= not jobs[number].local
            for follower in followers[number]:
                left[follower] -= 1
                if not left[follower]:
                    heapq.heappush(ready[jobs[follower].local], follower)
        for waiting in list(pending) if what != "seen" else ():
            nodes = local if jobs[waiting].local else free
            node = next((node for node in nodes if _fits(node, wants[waiting])), None)
            if node:
                _take(node, wants[waiting], 1)
                place[waiting], began[waiting] = node, now
                pending.remove(waiting)
                start_s = 0 if jobs[waiting].local else cluster.start_s
                heapq.heappush(events, (now + start_s + seconds[waiting], waiting, "ended"))
    return Run(began, ended)


def _fits(node, want):
    return all(there >= asked for there, asked in zip(node, want, strict=True))


def _take(node, want, times):
    for place, asked in enumerate(want):
        node[place] -= times * asked


def in_use(jobs: list[Job], run: Run, amount) -> tuple[list[float], list[float]]:
    """Times, and what `amount(job)` sums to of the jobs that run from each on."""
    steps = defaultdict(float)
    for job, began, ended in zip(jobs, run.began, run.ended, strict=True):
        steps[began] += amount(job)
        steps[ended] -= amount(job)
    times, total, sums = sorted(steps), 0.0, []
    for time in times:
        total += steps[time]
        sums.append(total)
    return times, sums
