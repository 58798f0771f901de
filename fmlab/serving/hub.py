"""`fmlab push` and `fmlab pull`: trained models on the Hugging Face Hub, through its own client."""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fmlab.errors import FmlabError, StorageError
from fmlab.serving.command import TYPE_OF_RUN, Parser, show_messages

PUSH = """\
Uploads a trained model to the Hugging Face Hub (pip install "fmlab[hub]"), in the layout of `fmlab export --format
huggingface`: weights, options, encoder, figures and a model card. The repository is made where it is not there, private
unless --public is given. The files hold the ids of users and items and which items every user has met: whoever can read
the repository can read them. The login is that of the client: `hf auth login`, or HF_TOKEN."""
PULL = """\
Downloads a model that `fmlab push` has uploaded (pip install "fmlab[hub]") into a new folder, which all commands take
for a run. Only the files of that layout are fetched, their checksums are compared, and nothing in them is executed."""
FILES = ("README.md", "config.json", "model.safetensors", "serving.bin", "metrics.json", "calibration.json")


def push(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab push RUN REPOSITORY`; returns the exit code. Raises FmlabError."""
    parser = Parser(prog="fmlab push", description=PUSH, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help=TYPE_OF_RUN)
    parser.add_argument("repository", metavar="OWNER/NAME", help="of the hub")
    parser.add_argument("--public", action="store_true", help="whoever asks may read a repository that is made now")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to upload to (default: main)")
    parser.add_argument("--message", metavar="TEXT", default="fmlab push", help="of the commit")
    args = parser.parse_args(arguments)
    client = _client()
    from fmlab.serving import load_run
    from fmlab.serving.export import export

    show_messages()
    run = load_run(args.run)
    with TemporaryDirectory(prefix="fmlab-push-") as folder:
        export(run, Path(folder) / "model", ["huggingface"])
        if run.data.seen is not None:
            print("the upload holds the ids of users and which items they have met", file=sys.stderr)
        try:
            api = client.HfApi()
            api.create_repo(args.repository, private=not args.public, exist_ok=True)
            done = api.upload_folder(
                repo_id=args.repository,
                folder_path=str(Path(folder) / "model"),
                commit_message=args.message,
                revision=args.revision,
                allow_patterns=list(FILES),
            )
        except Exception as error:
            raise _refused(error, args.repository) from error
    print(getattr(done, "commit_url", done))
    return 0


def pull(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab pull REPOSITORY --out FOLDER`; returns the exit code. Raises FmlabError, StorageError."""
    parser = Parser(prog="fmlab pull", description=PULL, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", metavar="OWNER/NAME", help="of the hub")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--revision", metavar="REVISION", help="branch, tag or commit (default: main)")
    args = parser.parse_args(arguments)
    if args.out.exists():
        raise FmlabError(f"pull makes a new folder, {args.out} is there")
    client = _client()
    from fmlab.files import draft_of
    from fmlab.serving import load_run

    show_messages()
    out = args.out.absolute()
    with draft_of(out, folder=True) as draft:
        try:
            client.snapshot_download(
                args.repository, revision=args.revision, local_dir=str(draft), allow_patterns=list(FILES)
            )
        except Exception as error:
            raise _refused(error, args.repository) from error
        shutil.rmtree(draft / ".cache", ignore_errors=True)  # the client's own notes
        name = load_run(draft).name
        draft.replace(out)
    print(f"{name}: {args.out}")
    return 0


def _client() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise FmlabError(f'the hub needs the package {error.name}: pip install "fmlab[hub]"') from error
    return huggingface_hub


def _refused(error: Exception, repository: str) -> StorageError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return StorageError(f"the hub refuses {repository}: {type(error).__name__}: {lines[0][:300] if lines else ''}")
