"""Files are opened here and nowhere else: one module a format, heavy readers imported by the module that
needs them.
"""
