"""`python -m trainer.demo --weights W`: prints the address of the page and serves it until Ctrl-C."""

import argparse
import signal
import sys
import tempfile
import webbrowser
from pathlib import Path

import torch

from trainer.command import exit_code_of
from trainer.demo.server import DemoServer, Limits
from trainer.track import MODEL_HELP, MODELS, load_tracker


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="trainer.demo",
        description="A page on this computer: upload a video, click points, watch them being tracked.",
    )
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of trainer.launch")
    parser.add_argument("--model", choices=MODELS, help=MODEL_HELP)
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1; 0 takes a free one (default 8000)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
    parser.add_argument("--memory-size", type=int, help="frames that LBM remembers (default: as trained)")
    parser.add_argument("--max-frames", type=int, default=Limits.max_frames, help="frames of a video that are used")
    parser.add_argument("--max-upload-mib", type=int, default=Limits.max_upload_mib, help="largest video file")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser.parse_args(arguments)


def serve(options: argparse.Namespace) -> None:
    """Load the weights and serve the page until Ctrl-C or SIGTERM; the videos and results are deleted at the end.

    ValueError for weights of another model and limits that make no sense, OSError for a port that is taken.
    """
    if options.max_frames < 2 or options.max_upload_mib < 1 or not 0 <= options.port < 1 << 16:
        raise ValueError("--max-frames must be 2 or more, --max-upload-mib 1 or more, --port in 0..65535")
    if options.threads:
        torch.set_num_threads(options.threads)
    tracker = load_tracker(options.weights, options.device, options.memory_size, model_name=options.model)
    limits = Limits(max_frames=options.max_frames, max_upload_mib=options.max_upload_mib)
    with tempfile.TemporaryDirectory(prefix="frameline-demo-") as folder:
        try:
            server = DemoServer(options.port, tracker, Path(folder), limits)
        except OSError as error:
            raise ValueError(f"port {options.port}: {error.strerror}; give another one with --port") from None
        with server:
            try:
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                print(f"{server.address}  (on {options.device}; Ctrl-C ends it)", flush=True)
                if options.open:
                    webbrowser.open(server.address)
                server.serve_forever()
            except KeyboardInterrupt:
                print("ended; the uploaded videos are deleted")


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    return exit_code_of(lambda: serve(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
