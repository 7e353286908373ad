"""A chest radiograph: what looks unusual, a gentle variation, and two new images of a label.

The radiograph comes with pydicom-data. Pictures are written beside you, each marked as synthetic in its
metadata.

    python examples/chest_xray.py
"""

from pydicom.data import get_testdata_file

import medprior as mp

prior = mp.load("chest-xray")
scan = mp.read(str(get_testdata_file("RG1_UNCR.dcm", download=False)))

found = mp.detect(prior, scan, seed=0)
print(
    f"score {found.score:.2f};",
    found.refused or f"p-value {found.p_value:.3f} from {found.n_healthy} healthy patients",
)

variation = mp.augment(prior, scan, strength=0.3, n=1, seed=0)[0]
new = mp.synthesize(prior, n=2, label="pneumonia", seed=0)

mp.write(found.healthy, "healthy_twin.png", kind="healthy twin")
mp.write(variation, "variation.png", kind="augmented")
for number, image in enumerate(new):
    print("wrote", mp.write(image, f"new_{number}.png", kind="synthesized"), image.shape)
