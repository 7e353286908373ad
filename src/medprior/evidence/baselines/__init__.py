"""Plain reconstruction methods that stand beside every result of ours."""
