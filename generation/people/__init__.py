"""Pictures of people close to a camera: bodies, poses, cameras, looks. numpy only, but for `anny`."""
