"""Converts each file whole, in ranges of two pages, and by marker alone, in each mode; all three have to say the same.

    same_text.py FOLDER_OF_THE_PYTHON FILE…
"""

import os
import pathlib
import subprocess
import sys
import tempfile

RUNNER = pathlib.Path(sys.argv[1])
sys.path[:0] = [str(RUNNER / "marker_runner"), str(RUNNER)]
STAND_IN = pathlib.Path(__file__).with_name("stand_in.py")


class Job:
    """A job as the helper for runners has it, without a worker."""

    source_label = "a.pdf"

    def __init__(self, source, folder, order):
        self.source, self.params = pathlib.Path(source), order
        self.scratch_dir = self.output_dir = pathlib.Path(folder)
        self.kept, self.said = [], []

    def check(self):
        pass

    def progress(self, *said):
        self.said.append(said)

    def output(self, name):
        path = self.output_dir / name
        path.parent.mkdir(exist_ok=True)
        return path

    def checkpoint(self, _name, path):
        self.kept.append(str(path))


def in_ranges(source, size, mode, url, models):
    import runner

    common = {"options": {}, "mode": mode, "allow_partial": False, "outputs_max": 1000}
    common["servers"] = {"layout": url, "ocr_error": url, "vlm": url}
    with tempfile.TemporaryDirectory() as folder:
        total = runner.run(Job(source, folder, {**common, "step": "inspect", "parts": []}), models)["pages"]
        parts = []
        for first in range(0, total, size):
            pages = list(range(first, min(first + size, total)))
            order = {**common, "step": "pages", "pages": pages, "done": first, "total": total}
            job = Job(source, folder, {**order, "name": f"part-{first}"})
            runner.run(job, models)
            parts += job.kept
            done = [said[0] for said in job.said]
            assert done == sorted(done) and done[-1] <= total, f"progress goes on: {job.said}"
        # The order in which they come makes no difference.
        order = {**common, "step": "document", "parts": parts[::-1], "total": total, "source_pages": total}
        order["pages"] = [[0, total - 1]]
        runner.run(Job(source, folder, order), models)
        return (pathlib.Path(folder) / "document.md").read_text()


def by_marker_alone(source, mode):
    from document import with_image_folder
    from marker.config.parser import ConfigParser
    from marker.converters.pdf import PdfConverter
    from marker.models import create_model_dict
    from marker.output import text_from_rendered

    options = {"output_format": "markdown", "mode": mode, "disable_multiprocessing": True, "disable_tqdm": True}
    if mode == "no-ocr":
        options.update(mode="fast", disable_ocr=True)
    parser = ConfigParser(options)
    converter = PdfConverter(
        config=parser.generate_config_dict(), artifact_dict=create_model_dict(), renderer=parser.get_renderer()
    )
    text, _, images = text_from_rendered(converter(source))
    return with_image_folder(text, images)


def main():
    stand_in = subprocess.Popen([sys.executable, STAND_IN], stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{stand_in.stdout.readline().strip()}/v1"
        for server in ("FAST_LAYOUT_SERVER", "OCR_ERROR_SERVER", "SURYA_INFERENCE"):
            os.environ[f"{server}_URL"] = url
        os.environ.update(FONT_PATH=__file__, DISABLE_TQDM="true", SURYA_INFERENCE_PARALLEL="4")
        os.environ["SURYA_INFERENCE_BACKEND"] = "vllm"
        from models import Models

        models = Models()
        for source in sys.argv[2:]:
            for mode in ("fast", "balanced", "no-ocr"):
                alone = by_marker_alone(source, mode)
                whole, parted = (in_ranges(source, size, mode, url, models) for size in (1000, 2))
                assert whole == alone, f"{source} {mode}: whole\n{whole}\n--- alone\n{alone}"
                assert parted == whole, f"{source} {mode}: in ranges\n{parted}\n--- whole\n{whole}"
                print(f"{pathlib.Path(source).name} {mode}: {len(whole)} characters, all three the same")
    finally:
        stand_in.kill()


main()
