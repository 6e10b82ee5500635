#!/usr/bin/env bash
# Submit a job script and print the job's id: submit.sh RULE THREADS MEM_MB MINUTES GPUS SCRIPT
set -euo pipefail
rule=$1 threads=$2 memory=$3 minutes=$4 gpus=$5 script=$6
read -ra site <<<"${HARDFOLD_SUBMIT:-}"
time=$(printf '%02d:%02d:00' $((minutes / 60)) $((minutes % 60)))
logs=results/logs/cluster
mkdir -p "$logs"
if command -v bsub >/dev/null; then # LSF; memory in MB, unless the site's LSF_UNIT_FOR_LIMITS says otherwise
    ((gpus)) && site+=(-gpu "num=$gpus")
    bsub -J "hardfold_$rule" -n "$threads" -R "span[hosts=1] rusage[mem=$memory]" -M "$memory" -W "${time%:00}" \
        -o "$logs/%J.log" "${site[@]}" <"$script" | sed -E 's/.*<([0-9]+)>.*/\1/'
elif command -v qacct >/dev/null; then # SGE; memory is asked for by core
    ((gpus)) && site+=(-l "gpu=$gpus")
    qsub -terse -cwd -V -N "hardfold_$rule" -pe smp "$threads" -l "h_vmem=$(((memory + threads - 1) / threads))M" \
        -l "h_rt=$time" -j y -o "$logs" "${site[@]}" "$script"
else # PBS Professional, OpenPBS
    select="select=1:ncpus=$threads:mem=${memory}mb"
    ((gpus)) && select+=":ngpus=$gpus"
    qsub -V -N "hardfold_${rule:0:6}" -l "$select" -l "walltime=$time" -j oe -o "$logs/" "${site[@]}" "$script"
fi
