# %% [markdown]
# # Detect what looks unusual, with a calibrated p-value
#
# The bundled chest prior was calibrated on 26 healthy patients that it did not learn from. So each
# score comes with a p-value: the share of healthy patients that look at least as unusual. The
# radiograph comes with pydicom-data.
#
#     python examples/detect_with_p_values.py [SCAN]

# %%
import sys

from pydicom.data import get_testdata_file

import medprior as mp

scan = sys.argv[1] if len(sys.argv) > 1 else str(get_testdata_file("RG1_UNCR.dcm", download=False))

# %% [markdown]
# `refused` says why there is no p-value, if there is none: too few healthy patients, or another kind of
# scan.

# %%
found = mp.detect("chest-xray", scan, seed=0)  # names, paths and arrays will do
if found.p_value is None:
    print("no p-value:", found.refused)
else:
    print(f"p = {found.p_value:.3f}: so many of {found.n_healthy} healthy patients look at least as unusual")
print(f"score {found.score:.2f}, {len(found.findings)} findings")
for finding in found.findings:
    print(finding)

# %% [markdown]
# The healthy twin is the scan with the unusual regions drawn anew. It is marked as synthetic.

# %%
print("wrote", mp.write(found.healthy, "healthy_twin.png", kind="healthy twin"))
