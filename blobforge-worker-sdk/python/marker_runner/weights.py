"""Says where the weights of the vision model are: `look` for null or their paths, `fetch` to have them here first."""

import json
import os
import sys

REPOSITORY = os.environ.get("SURYA_GGUF_REPO", "datalab-to/surya-ocr-2-gguf")
FILES = (
    os.environ.get("SURYA_GGUF_MODEL_FILE", "surya-2.gguf"),
    os.environ.get("SURYA_GGUF_MMPROJ_FILE", "surya-2-mmproj.gguf"),
)


def main():
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    if sys.argv[1] == "fetch":
        found = [hf_hub_download(REPOSITORY, name) for name in FILES]
    else:
        found = [try_to_load_from_cache(REPOSITORY, name) for name in FILES]
    print(json.dumps(found if all(isinstance(path, str) for path in found) else None))


main()
