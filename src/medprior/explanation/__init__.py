"""Why a model answers as it does: counterfactuals, attributions with checks that can fail, shortcuts."""
