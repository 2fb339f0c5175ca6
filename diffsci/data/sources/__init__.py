"""Sources: layouts of files that say less of themselves than NetCDF does, each as a labelled set.

A file of this folder is one layout: `open_it(path, options, where)` gives an `xarray.Dataset` whose
values are read when they are selected. No package of the layout's makers is imported.
"""
