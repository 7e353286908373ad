"""Runs that train a prior or adapt one."""
