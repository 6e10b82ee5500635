"""What Snakemake's Slurm plugin (2.8) needs in order to outlive a controller that is away for a while."""

import functools

import snakemake_executor_plugin_slurm as plugin


def remember_min_job_age() -> None:
    """Ask Slurm for MinJobAge once for this process.

    The plugin asks before each status query, and takes silence for a value too low for squeue: it then asks sacct,
    which never answers where there is no accounting, loses sight of its jobs, and Snakemake waits for ever.
    """
    plugin.get_min_job_age = functools.cache(plugin.get_min_job_age)
    plugin.get_min_job_age()
