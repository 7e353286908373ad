"""``medprior serve``: the page in the browser. Whoever imports a module of this folder calls
``errors.optional`` first.
"""
