# %% [markdown]
# # Label the twenty scans that help most
#
# Labels are scarce, scans are not. The prior knows all scans already, so it can say which twenty stand for
# the rest. Here the names of the folders play the reader, so that the script runs by itself.
#
#     MEDPRIOR_DATA=../shared/data python examples/label_twenty_scans.py [FOLDER]

# %%
import os
import sys
from dataclasses import replace
from pathlib import Path

import medprior as mp

folder = Path(sys.argv[1] if len(sys.argv) > 1 else f"{os.environ['MEDPRIOR_DATA']}/chest_xray_nih/val")
scans = mp.scan(folder)
truth = {item.path: item.label for item in scans.items}
unlabelled = replace(scans, items=tuple(replace(item, label="") for item in scans.items))
print(f"{len(truth)} scans; their labels are put aside")

# %% [markdown]
# A `Labelling` keeps its answers in a folder, line by line. Each scan comes with the reason why it was
# chosen.

# %%
labels = mp.Labelling(unlabelled, "chest-xray", "my_labels")
batch = labels.propose(20, reader="Ann")
for one in batch.scans[:3]:
    print(one.why)

# %% [markdown]
# This is where a person looks at the scan. `?` says that the reader cannot tell. An answer can be taken back;
# nothing is removed from the trail.

# %%
first, *rest = (one.scan for one in batch.scans)
number = labels.record(first, "?", reader="Ann", seconds=4.0)
labels.undo(number)
for name in (first, *rest):
    labels.record(name, truth[name], reader="Ann", seconds=4.0)

# %% [markdown]
# A second reader looks at five of the same scans, drawn at random: they measure agreement. This reader is
# simulated, too, and errs once.

# %%
again = labels.propose(5, reader="Bob", repeat=5).scans
for n, one in enumerate(again):
    other = next(name for name in set(truth.values()) if name != truth[one.scan])
    labels.record(one.scan, other if n == 0 else truth[one.scan], reader="Bob")
agreement = labels.agreement()
print("agreement:", agreement.alpha or agreement.reason)

# %% [markdown]
# Is the next batch worth its time? And where do the labels go? Into a table that every command takes with
# `--labels`.

# %%
print("advice:", labels.advice(20).reason)
print("labels:", labels.save_labels(), labels.classes())
