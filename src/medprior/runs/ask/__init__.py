"""What may be asked: one request type for each verb."""
