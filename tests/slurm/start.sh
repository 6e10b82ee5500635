#!/usr/bin/env bash
# Start a Slurm on loopback, of one node or two with two fake GPUs each: start.sh FOLDER [--accounting] [--two-nodes].
# All state is in FOLDER, all daemons are its own (several slurmd on a machine, as Debian's build allows), /etc/slurm links
# to its configuration. Needs root; installs what is missing with apt-get (Debian, Ubuntu). Ends with 77 and the reason where
# it cannot run: no root, no apt-get, or a Slurm of the machine's own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mkdir -p "${1:?folder}" && cd "$1" && pwd)
shift
accounting="" nodes=1
for option; do
    case $option in
        --accounting) accounting=$option ;;
        --two-nodes) nodes=2 ;;
        *) echo "unknown option $option" >&2; exit 2 ;;
    esac
done
export PATH=$PATH:/usr/sbin
# More than the machine has: how many jobs run at once is Snakemake's --jobs.
cpus=8 memory=64000 port=26817
cannot() { echo "$1" >&2; exit 77; }

[ "$(id -u)" = 0 ] || cannot "a Slurm of the tests' own needs root"
programs="munged slurmctld slurmd squeue"
packages="munge slurmctld slurmd slurm-client"
if [ "$accounting" = --accounting ]; then
    programs+=" slurmdbd mariadbd"
    packages+=" slurmdbd mariadb-server"
fi
if ! hash $programs 2>/dev/null; then # of `command -v` one that is there is enough
    command -v apt-get >/dev/null || cannot "no Slurm here and no apt-get to install it"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } \
        >"$folder/apt.log" 2>&1 || cannot "apt-get could not install Slurm: $(tail -1 "$folder/apt.log")"
fi
if [ -e /etc/slurm/slurm.conf ]; then
    other=$(readlink /etc/slurm/slurm.conf) || cannot "this machine belongs to a Slurm cluster"
    other=$(dirname "$(dirname "$other")")
    if [ -s "$other/pids/slurmctld.pid" ] && kill -0 "$(cat "$other/pids/slurmctld.pid")" 2>/dev/null; then
        cannot "another Slurm of these tests is up, in $other"
    fi
    bash "$here/stop.sh" "$other"
fi

mkdir -p "$folder"/{etc,pids,log,ctld,munge,dev} /etc/slurm
chmod 755 "$folder" "$folder/munge" "$folder/log"
# Slurm wants character devices: these are /dev/null twice more.
for gpu in 0 1; do [ -e "$folder/dev/gpu$gpu" ] || mknod "$folder/dev/gpu$gpu" c 1 3; done
[ -s "$folder/munge/munge.key" ] || (umask 077; head -c 1024 /dev/urandom >"$folder/munge/munge.key")
munged --force --key-file="$folder/munge/munge.key" --socket="$folder/munge/munge.sock" --num-threads=2 \
    --pid-file="$folder/pids/munged.pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge/munge.seed"

storage="AccountingStorageType=accounting_storage/none"
if [ "$accounting" = --accounting ]; then
    storage="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 2))
AccountingStoragePass=$folder/munge/munge.sock
AccountingStorageTRES=gres/gpu"
fi
cat >"$folder/etc/slurm.conf" <<CONF
ClusterName=hardfold
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/munge.sock
StateSaveLocation=$folder/ctld
SlurmdSpoolDir=$folder/slurmd.%n
SlurmctldPidFile=$folder/pids/slurmctld.pid
SlurmdPidFile=$folder/pids/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
ReturnToService=2
MinJobAge=300
KillWait=3
# Memory is looked at each second, and a job above its request is killed.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/none
$storage
SlurmdParameters=config_overrides
GresTypes=gpu
PartitionName=cpu Nodes=ALL Default=YES MaxTime=2880 State=UP
PartitionName=gpu Nodes=ALL MaxTime=2880 State=UP
CONF
node="NodeHostname=$(hostname) NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:fake:2 State=UNKNOWN"
for number in $(seq $nodes); do
    echo "NodeName=node$number Port=$((port + 10 + number)) $node" >>"$folder/etc/slurm.conf"
done
cat >"$folder/etc/gres.conf" <<CONF
AutoDetect=off
Name=gpu Type=fake File=$folder/dev/gpu[0-1]
CONF
cat >"$folder/etc/cgroup.conf" <<CONF
CgroupPlugin=cgroup/v1
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=no
CONF
# A job's inner srun has lost SLURM_CONF: the configuration must be where Slurm looks by itself.
unset SLURM_CONF
for file in slurm.conf gres.conf cgroup.conf; do ln -sfn "$folder/etc/$file" "/etc/slurm/$file"; done

wait_for() { # SECONDS COMMAND...: until it succeeds
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || { echo "gave up on: $*" >&2; tail -n 5 "$folder"/log/*.log >&2; exit 1; }
        sleep 0.1
    done
}
if [ "$accounting" = --accounting ]; then
    sql() { mariadb --no-defaults --socket="$folder/mysql.sock" "$@"; }
    [ -d "$folder/mysql/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$folder/mysql" \
        --auth-root-authentication-method=normal --skip-test-db >"$folder/log/mariadb-install.log" 2>&1
    setsid mariadbd --no-defaults --user=root --datadir="$folder/mysql" --bind-address=127.0.0.1 --port=$((port + 3)) \
        --socket="$folder/mysql.sock" --pid-file="$folder/pids/mariadbd.pid" --skip-name-resolve \
        --innodb-lock-wait-timeout=900 --innodb-buffer-pool-size=64M >"$folder/log/mariadbd.log" 2>&1 </dev/null &
    wait_for 60 sql -e "SELECT 1"
    sql -e "CREATE DATABASE IF NOT EXISTS slurm_acct_db;
        CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
        GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';"
    cat >"$folder/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$folder/munge/munge.sock
DbdHost=$(hostname)
DbdAddr=127.0.0.1
DbdPort=$((port + 2))
SlurmUser=root
PidFile=$folder/pids/slurmdbd.pid
LogFile=$folder/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 3))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
    chmod 600 "$folder/etc/slurmdbd.conf"
    ln -sfn "$folder/etc/slurmdbd.conf" /etc/slurm/slurmdbd.conf
    slurmdbd
    wait_for 60 sacctmgr -n list cluster
    # Each is an error where it is there already, from an earlier start.
    sacctmgr -i add cluster hardfold >/dev/null 2>&1 || true
    sacctmgr -i add account tests >/dev/null 2>&1 || true
    sacctmgr -i add user root Account=tests >/dev/null 2>&1 || true
fi
slurmctld
wait_for 60 sh -c "scontrol ping | grep -q UP"
for number in $(seq $nodes); do slurmd -N "node$number"; done
wait_for 60 sh -c "test \$(sinfo --noheader --Node --partition=cpu --format=%T | grep -cE 'idle|mixed|allocated') = $nodes"
