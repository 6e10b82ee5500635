#!/usr/bin/env bash
# HH-suite and MMseqs2 (and TMscore, the tests' cross-check): by apt-get when root, else from a conda, else a message.
set -euo pipefail
cd "$(dirname "$0")/.."

missing() {
    for tool in hhblits mmseqs TMscore; do
        command -v "$tool" >/dev/null || [ -x ".conda/bin/$tool" ] || echo "$tool"
    done
}

if [ -n "$(missing)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing HH-suite, MMseqs2 and TMscore with apt-get"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends hhsuite mmseqs2 tm-align >/dev/null
fi
if [ -n "$(missing)" ]; then
    for conda in mamba micromamba conda; do
        if command -v "$conda" >/dev/null; then
            echo "installing HH-suite, MMseqs2 and TMscore with $conda into .conda"
            "$conda" env create --quiet --yes --prefix .conda --file envs/tools.yaml
            break
        fi
    done
fi
left=$(missing | tr '\n' ' ')
case "$left" in
    "") ;;
    "TMscore ") echo "TMscore is not installed: the tests that compare with it will be skipped." ;;
    *)
        echo "missing: $left" >&2
        echo "Install HH-suite 3.3 and MMseqs2 (Debian and Ubuntu: sudo apt-get install hhsuite mmseqs2 tm-align;" >&2
        echo "conda: conda env create --prefix .conda --file envs/tools.yaml), then run make again." >&2
        exit 1
        ;;
esac
