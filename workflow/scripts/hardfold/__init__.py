"""hardfold: protein contact and folding predictors on ESM-2, trained, adapted and honestly benchmarked."""
