"""A street without a renderer: a panorama at infinity above a ground with a texture; and data sets of drives."""

import numpy as np

from shards import Clip, pack_clips, write_index
from shards.driving.drive import Drive
from shards.driving.motion import commands_of
from tests.shards.driving.drives import level_pose

FOCAL_SHARE = 0.8
"""Focal length as a share of the width."""


def smooth_noise(shape, rng, *, passes=3):
    """Noise (H, W, 3) from 0 to 255 that goes on over its edges, smoothed a little."""
    noise = rng.normal(size=(*shape, 3))
    for _ in range(passes):
        noise = sum(np.roll(noise, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) / 9
    noise = (noise - noise.mean()) / noise.std()
    return np.clip(127 + 55 * noise, 0, 255)


def pick(texture, v, u):
    """Values of a texture that goes on over its edges, linear between pixels."""
    v0, u0 = np.floor(v).astype(int), np.floor(u).astype(int)
    dv, du = (v - v0)[..., None], (u - u0)[..., None]
    rows, columns = texture.shape[:2]

    def at(dy, dx):
        return texture[(v0 + dy) % rows, (u0 + dx) % columns]

    upper, lower = (1 - du) * at(0, 0) + du * at(0, 1), (1 - du) * at(1, 0) + du * at(1, 1)
    return (1 - dv) * upper + dv * lower


def see(poses, size, seed=0, samples=2):
    """Frames (T, H, W, 3) uint8 of a world that the seed makes, from poses (T, 3, 4)."""
    rng = np.random.default_rng(seed)
    sky, ground = smooth_noise((32, 360), rng), smooth_noise((128, 128), rng)
    height, width = size[0] * samples, size[1] * samples
    y, x = np.mgrid[:height, :width] + 0.5
    focal = FOCAL_SHARE * width
    rays = np.stack([(x - width / 2) / focal, (y - height / 2) / focal, np.ones_like(x)], -1)
    frames = []
    for pose in poses:
        world = rays @ pose[:, :3].T
        level = np.hypot(world[..., 0], world[..., 1])
        azimuth = np.arctan2(world[..., 1], world[..., 0]) * 360 / (2 * np.pi)
        far = pick(sky, 15 - 25 * world[..., 2] / level, azimuth)
        reach = pose[2, 3] / np.maximum(-world[..., 2], 1e-3)
        places = pose[:2, 3] + reach[..., None] * world[..., :2]
        near = pick(ground, places[..., 1] * 4, places[..., 0] * 4)
        mist = np.exp(-reach / 12)[..., None]
        picture = np.where((world[..., 2] < 0)[..., None], mist * near + (1 - mist) * 127, far)
        frames.append(picture.reshape(size[0], samples, size[1], samples, 3).mean((1, 3)))
    return np.rint(frames).astype(np.uint8)


def drive_along(num_frames, rng, *, rate=10.0, speed=6.0, most_turn=0.8):
    """A drive whose speed and yaw rate are drawn."""
    times_s = np.arange(num_frames) / rate
    speeds = speed * rng.uniform(0.5, 1.5) * np.ones(num_frames)
    rates = rng.uniform(-most_turn, most_turn) + 0.2 * most_turn * np.sin(times_s * 3 + rng.uniform(0, 6))
    heading = 0.3 + np.concatenate([[0], np.cumsum(rates[:-1] / rate)])
    x = np.concatenate([[0], np.cumsum(speeds[:-1] / rate * np.cos(heading[:-1]))])
    y = np.concatenate([[0], np.cumsum(speeds[:-1] / rate * np.sin(heading[:-1]))])
    poses = np.stack([level_pose(*one) for one in zip(x, y, heading, strict=True)])
    return Drive(times_s=times_s, camera_to_world=poses, commands=commands_of(times_s, poses))


def street_clip(key, seed, *, num_frames=8, size=(32, 48), **settings):
    """A clip of a drive through a world of its own."""
    drive = drive_along(num_frames, np.random.default_rng(seed), **settings)
    return Clip(
        key=key,
        video=see(drive.camera_to_world, size, seed),
        tracks=np.zeros((num_frames, 0, 2), np.float32),
        visible=np.zeros((num_frames, 0), bool),
        drive=drive,
        metadata={"recipe": {"source": "toy", "frame_rate": 10}},
    )


def street_index(root, name="street", *, num_clips=6, **settings):
    """Pack clips of drives into root/name and return the index."""
    clips = [street_clip(f"{name}-{number}", number, **settings) for number in range(num_clips)]
    prefix = root / name / "shard-000000"
    pack_clips(clips, prefix, "png")
    write_index([prefix.with_name("shard-000000.json")], name, root / name / "index.json")
    return root / name / "index.json"
