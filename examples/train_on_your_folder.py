# %% [markdown]
# # Learn a prior from a folder of scans
#
# Sub-folders are labels; a `scans.csv` names patients and splits. Without a folder the example makes
# one up, and trains for seconds: enough to see each step, not enough for good images. For your own
# scans take `--preset small --minutes 60`.
#
#     python examples/train_on_your_folder.py [FOLDER] [MINUTES]

# %%
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from made_up_scans import write_scans

import medprior as mp

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "my_scans")
minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 0.05
if not folder.exists():
    write_scans(folder.resolve(), healthy=40, ill=10)

# %% [markdown]
# `fit` divides the patients into train, validation and test 70:15:15, learns from train, and measures
# its errors on validation. The same call again continues where it stopped.

# %%
prior = mp.fit(folder, preset="tiny", minutes=minutes, seed=0, modality="DX", out="my_prior")
print("labels", prior.card.labels)

# %% [markdown]
# The loss on validation scans falls with training time. Four new images show whether the prior is
# under-trained.

# %%
for number, image in enumerate(mp.synthesize(prior, n=4, label="no_finding", seed=0)):
    print("wrote", mp.write(image, f"sample_{number}.png", kind="synthesized"))
