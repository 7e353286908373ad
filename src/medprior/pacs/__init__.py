"""``medprior serve --pacs``: a quiet member of a hospital's network. Whoever imports a module of this folder
calls ``errors.optional`` first.
"""
