"""Terms of the standard: of a picture that shows no patient any more, words typed by people are not passed
on (PS3.3 and PS3.16 of DICOM).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["is_defined"]

_TERMS = {
    "BodyPartExamined": """ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST
        BRONCHUS BUTTOCK CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS
        CLAVICLE COCCYX COLON CORNEA CORONARYARTERY CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE
        EYELID FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS ILEUM ILIUM IAC
        JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE LUNG MANDIBLE MAXILLA MEDIASTINUM MOUTH NECK
        NECKCHEST NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RECTUM RIB SCALP
        SCAPULA SCLERA SCROTUM SELLA SHOULDER SINUS SKULL SPINE SPLEEN SSPINE STERNUM STOMACH SUBMANDIBULAR
        TESTIS THIGH THUMB THYMUS THYROID TIBIA TIBIAFIBULA TLSPINE TMJ TOE TONGUE TRACHEA TSPINE TSSPINE
        UMBILICUS URETER URETHRA UTERUS VAGINA VULVA WHOLEBODY WRIST ZYGOMA""",
    "ViewPosition": "AP PA LL RL RLD LLD RLO LLO LAT LATERAL ML LM MLO LMO CC XCC XCCL XCCM FB ISO SIO",
    "PatientPosition": """HFP HFS HFDR HFDL FFDR FFDL FFP FFS LFP LFS RFP RFS AFDR AFDL PFDR PFDL""",
    "ScanningSequence": "SE IR GR EP RM",
    "SequenceVariant": "SK MTC SS TRSS SP MP OSP TOF NONE",
    "ScanOptions": "PER RG CG PPG FC PFF PFP SP FS",
    "MRAcquisitionType": "2D 3D",
    "Units": "CNTS NONE CM2 CM2ML PCNT CPS BQML MGMINML UMOLMINML MLMING MLG 1CM UMOLML PROPCNTS PROPCPS "
    "MLMINML MLML GML STDDEV SUV",
    "CountsSource": "EMISSION TRANSMISSION",
    "RescaleType": "OD HU US MGML Z_EFF ED EDW HU_MOD PCT NORMALIZED BQML CNTS SUV",
    "SeriesType": "STATIC DYNAMIC GATED WHOLE BODY IMAGE REPROJECTION",
    "CorrectedImage": "DECY ATTN SCAT DTIM MOTN PMOT CLN RAN RADL DCAL NORM SECO",
    "DecayCorrection": "NONE START ADMIN",
    "CollimatorType": "NONE RING",
    "RandomsCorrectionMethod": "NONE DLYD SING",
    "Modality": """AR AU BI BMD CR CT DG DX ECG EPS ES FA GM HC HD IO IVOCT IVUS KER LEN LP LS MG MR NM OAM
        OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PT PX RF RG SM SMR SRF ST TG US VA XA XC""",
}
_WORDS = {keyword: frozenset(terms.split()) for keyword, terms in _TERMS.items()}
_ORIENTATION = re.compile(r"[APLRHF]{1,3}|[DVMT]{1,3}|L[EF]|C[RD]")
_NUMBER = re.compile(r"[-+0-9.eE]{1,16}")
_KERNEL = re.compile(r"[A-Z][a-z]?[0-9]{2}[a-z]{0,2}|FC[0-9]{2}|[A-E]|[YEU][ABC]|[0-9]{1,2}")
_KERNELS = frozenset(
    ("STANDARD", "BONE", "BONEPLUS", "LUNG", "SOFT", "DETAIL", "EDGE", "CHEST", "ULTRA", "SMOOTH", "SHARP")
)


def is_defined(keyword: str, value: object) -> bool:
    """Whether every part of a value is a number or a term that the standard defines for its element (for a
    convolution kernel, which has none: one of the vendors' forms).
    """
    if value is None:
        return True
    many = isinstance(value, Sequence) and not isinstance(value, str)
    parts = [str(part).strip() for part in value] if many else [str(value).strip()]  # type: ignore[attr-defined]
    return all(not part or _fits(keyword, part) for part in parts)


def _fits(keyword: str, part: str) -> bool:
    if keyword in _WORDS:
        return set(part.split()) <= _WORDS[keyword]
    if keyword == "PatientOrientation":
        return _ORIENTATION.fullmatch(part) is not None
    if keyword == "ConvolutionKernel":
        return part.upper() in _KERNELS or _KERNEL.fullmatch(part) is not None
    return _NUMBER.fullmatch(part) is not None
