"""Where clips come from: an explicit table of functions that read a layout on disk and yield Clips.

Every function raises ValueError that names the file or folder, and what is wrong with it.
"""

from collections.abc import Callable, Iterator

from shards.clip import Clip
from shards.layouts.badja import read_badja
from shards.layouts.bedlam import read_bedlam
from shards.layouts.bedlam_cc import read_bedlam_cc
from shards.layouts.clip_folder import read_clip_folders
from shards.layouts.drive_folder import read_drive_folders
from shards.layouts.dynamic_replica import read_dynamic_replica
from shards.layouts.human_data import read_human_data
from shards.layouts.movi import read_movi
from shards.layouts.npy_folder import read_cotracker3_kubric, read_lbm_folders
from shards.layouts.nuscenes import read_nuscenes
from shards.layouts.opendv import read_opendv
from shards.layouts.packed import read_packed
from shards.layouts.point_odyssey import read_point_odyssey
from shards.layouts.tapvid import read_tapvid
from shards.layouts.videos import read_videos
from shards.layouts.vista_list import read_vista_list

SOURCES: dict[str, Callable[..., Iterator[Clip]]] = {
    "badja": read_badja,
    "bedlam": read_bedlam,
    "bedlam_cc": read_bedlam_cc,
    "clip_folder": read_clip_folders,
    "cotracker3_kubric": read_cotracker3_kubric,
    "drive_folder": read_drive_folders,
    "dynamic_replica": read_dynamic_replica,
    "human_data": read_human_data,
    "index": read_packed,
    "lbm_folder": read_lbm_folders,
    "movi_tfrecord": read_movi,
    "nuscenes": read_nuscenes,
    "opendv": read_opendv,
    "point_odyssey": read_point_odyssey,
    "tapvid": read_tapvid,
    "videos": read_videos,
    "vista_list": read_vista_list,
}
OF_PEOPLE = {"bedlam", "bedlam_cc", "human_data"}
"""Readers of labels of people, which are told the body model too: (path, reading, choice)."""
OF_DRIVING = {"nuscenes", "opendv", "vista_list"}
"""Readers of drives, which are told the rate of frames and the like: (path, reading, choice)."""
