#!/usr/bin/env bash
# Stop the daemons that start.sh recorded in FOLDER, and take its links out of /etc/slurm: stop.sh FOLDER
set -u
folder=$1
alive() { kill -0 "$1" 2>/dev/null; }
if alive "$(cat "$folder/pids/slurmctld.pid" 2>/dev/null)"; then
    scancel --user=root
    # Without slurmd a job's processes would go on.
    for _ in $(seq 100); do [ -n "$(squeue --noheader)" ] || break; sleep 0.2; done
fi
for file in "$folder"/pids/{slurmd.*,slurmctld,slurmdbd,mariadbd,munged}.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    daemon=$(basename "$file") daemon=${daemon%%.*}
    # A process of that name: the number may be another's by now.
    case $(cat "/proc/$pid/comm" 2>/dev/null) in $daemon | $daemon-wlm) ;; *) continue ;; esac
    kill "$pid"
    for _ in $(seq 100); do alive "$pid" || break; sleep 0.1; done
    alive "$pid" && kill -9 "$pid"
done
for file in slurm.conf gres.conf cgroup.conf slurmdbd.conf; do
    [ "$(readlink "/etc/slurm/$file")" = "$folder/etc/$file" ] && rm "/etc/slurm/$file"
done
exit 0
