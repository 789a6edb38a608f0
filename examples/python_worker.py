"""A whole worker: `blobforge worker --type word-count --runner -- python3 python_worker.py`.

`blobforge worker --print-python-helper > blobforge_runner.py` makes what it imports.
"""

from blobforge_runner import BadInput, handler


@handler
def count(job):
    try:
        words = job.source.read_text().split()
    except UnicodeDecodeError as error:
        raise BadInput(f"This file is not text: {error}.")
    for number, word in enumerate(words):
        job.progress(number + 1, len(words), "count")
    job.output("words.txt").write_text("\n".join(words))
    return {"words": len(words)}
