# The whole environment and the workflow, for Kubernetes and cloud batch services: docs/clusters.md.
# NOT RUN: nobody has built this image yet.
FROM python:3.11-slim-bookworm
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends hhsuite mmseqs2 git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /hardfold
COPY envs/requirements.lock envs/requirements.lock
RUN pip install --no-cache-dir -r envs/requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .
ENV OMP_NUM_THREADS=1
CMD ["snakemake", "--cores", "all"]
