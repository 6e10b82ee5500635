"""Training ESM-2, ESM-MSA-1b and ESMFold architectures from scratch on data of package registries."""
