"""`fmlab export`: a trained model as files for other programs."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fmlab.serving.command import TYPE_OF_RUN, Parser, show_messages
from fmlab.serving.export import FORMATS, export, refuse_folder

DESCRIPTION = """\
Writes a trained model as files: weights.safetensors; features.parquet, the number, field and value of every
feature; manifest.json, with the model's options, schema, data fingerprint and checksums. Of data with users and items
also users.parquet and items.parquet, their ids by row. Of a model whose score is
link(query bias + <query vector, item vector> + item bias), for an index of maximum inner products:

  item_vectors.npy   [items, d + 1], an item's bias in the last column
  query_vectors.npy  [users, d + 1], 1 in the last column; not where the data have context columns
  query_bias.npy     [users], which changes no order of items

They are float32, or float64 where the model computes its vectors so because their products need the digits.

Rows of vectors are rows of the ids. The inner product of two rows gives the order, and with the query's bias, through
the link, the score. Of other models the vectors are missing, and it is said.

--format says what is written, and may be given several times: files is what stands above. onnx writes model.onnx,
encoder.json and score.py, which scores raw rows with onnxruntime and the standard library alone
(pip install "fmlab[onnx]"). torch writes model.pt2 of torch.export, and encoder.json. Both are compared with predict
before they are kept. ann writes an index of items by usearch (pip install "fmlab[ann]") for two-sided models, whose
scores are inner products, HyperML and LorentzFM among them, with the ids, the query vectors and search.py, which
finds the items of a user with usearch, NumPy and PyArrow alone; recall@10 against the exact ranking is printed.
huggingface writes the layout of the Hugging Face Hub, with a model card; all commands take such a folder for a run."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab export RUN --out FOLDER [--force]`; returns the exit code. Raises FmlabError."""
    args = _parser().parse_args(arguments)
    refuse_folder(args.out, args.force)
    from fmlab.serving import load_run

    show_messages()
    run = load_run(args.run)
    for line in export(run, args.out, args.format or ("files",), force=args.force):
        print(line, file=sys.stderr)
    print(args.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fmlab export", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help=TYPE_OF_RUN)
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--format", action="append", choices=FORMATS, help="what is written (default: files)")
    parser.add_argument("--force", action="store_true", help="replace FOLDER if it is an export")
    return parser
