"""Parts of evaluate detect: findings in their place, plain detectors beside, groups of patients."""
