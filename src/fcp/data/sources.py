"""Where each data set is published: page, files, sizes, checksums, and the command for them.

Nothing here was downloaded where this was written: addresses and checksums are those that public
programs hold (torchvision's for VOC and SBD), sizes those that the pages state. What is not known
is None.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """A file to fetch.

    Attributes:
        name: Name of the file.
        url: Address of the file, or of the page that links it.
        gigabytes: Size in GB (10⁹ bytes).
        md5: MD5 as hexadecimal digits.
    """

    name: str
    url: str
    gigabytes: float | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Source:
    """Origin of a data set.

    Attributes:
        page: Address of the official page.
        downloads: Files to fetch.
        command: Command that makes the data set of them.
        folder: Folder under the data root that the data set then has.
    """

    page: str
    downloads: tuple[Download, ...]
    command: str
    folder: str

    def advice(self) -> str:
        """Return one line that says what to fetch where, and what to run then."""
        names = " and ".join(download.name for download in self.downloads)
        return f"get {names} ({self.page}), then: {self.command}"


_COCO = "http://images.cocodataset.org"
_BERKELEY = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping"

SOURCES: dict[str, Source] = {
    "pascal5i": Source(
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        (
            Download(
                "VOCtrainval_11-May-2012.tar",
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                2.0,
                "6cd6e144f989b92b3379bac3b3de84fd",
            ),
            Download(
                "benchmark.tgz",
                f"{_BERKELEY}/semantic_contours/benchmark.tgz",
                1.4,
                "82b4d87ceb2ed10f6038a1cba92111cb",
            ),
        ),
        "fcp data pascal --voc VOCtrainval_11-May-2012.tar --sbd benchmark.tgz --out DATA",
        "VOC2012",
    ),
    "coco20i": Source(
        "https://cocodataset.org/#download",
        (
            Download("train2014.zip", f"{_COCO}/zips/train2014.zip", 13),
            Download("val2014.zip", f"{_COCO}/zips/val2014.zip", 6),
            Download(
                "annotations_trainval2014.zip",
                f"{_COCO}/annotations/annotations_trainval2014.zip",
                0.24,
            ),
        ),
        "fcp data coco --images DATA/COCO --annotations instances_train2014.json "
        "--annotations instances_val2014.json --out DATA",
        "COCO",
    ),
    "fss1000": Source(
        "https://github.com/HKUSTCV/FSS-1000",
        (Download("fewshot_data.zip", "https://github.com/HKUSTCV/FSS-1000"),),
        "fcp data fss1000 fewshot_data.zip --out DATA",
        "FSS-1000",
    ),
    "lvis92i": Source(
        "https://www.lvisdataset.org/dataset",
        (
            Download(
                "lvis_v1_val.json.zip",
                "https://dl.fbaipublicfiles.com/LVIS/lvis_v1_val.json.zip",
            ),
            Download("train2017.zip", f"{_COCO}/zips/train2017.zip", 18),
            Download("val2017.zip", f"{_COCO}/zips/val2017.zip", 0.8),
        ),
        "fcp data lvis --images DATA/COCO --annotations lvis_v1_val.json --out DATA",
        "LVIS",
    ),
}

# No benchmark: its regions have no classes.
BSDS500 = Source(
    f"{_BERKELEY}/resources.html",
    (
        Download(
            "BSR_bsds500.tgz",
            "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
            0.07,
        ),
    ),
    "fcp data bsds500 BSR_bsds500.tgz --out DATA",
    "BSDS500",
)
