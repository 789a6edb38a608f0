"""The models, which live in servers: what is asked of them is counted, shown as progress, and never lost silently."""

import collections
import contextlib
import dataclasses
import logging
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import httpx
from openai import OpenAI
from surya.common.blank import is_blank_region
from surya.inference import SuryaInferenceManager
from surya.inference.backends.openai_client import _generate_one
from surya.inference.schema import BatchOutputItem
from surya.inference.util import detect_repeat_token
from surya.layout.schema import LayoutResult
from surya.ocr_error.schema import OCRErrorDetectionResult
from surya.settings import settings

#: How many pages are looked at by one call, so that progress is seen between two of them.
PAGES_A_CALL = 8
#: How many texts are judged by one call.
TEXTS_A_CALL = 32
#: How often what waits for answers looks whether the job was called off, in seconds.
LOOK_EVERY = 0.5
#: How often a request is made again that failed.
RETRIES = 1
#: How the library asks if the item does not say.
AS_THE_LIBRARY = {"max_tokens_default": 2048, "temperature": 0.0, "top_p": 0.1}
#: How often one is made again, each time at a higher temperature, whose answer says the same again and again.
LOOPS = 3
#: How many warnings of the libraries are kept.
WARNINGS_MAX = 50


class NeedsServer(Exception):
    """The pages need a server that is not running."""


class ModelServerError(Exception):
    """A model was asked and gave no answer."""

    def __init__(self, message, out_of_memory=False):
        super().__init__(message)
        self.kind = "gpu_oom" if out_of_memory or is_out_of_memory(message) else "model_server"

    @classmethod
    def of(cls, error):
        """What an error of a library says about a server, if it does."""
        if isinstance(error, httpx.HTTPStatusError):
            return cls(f"the server answered {error.response.status_code}: {error.response.text[:500]}")
        if isinstance(error, (httpx.TransportError, ConnectionError)) or type(error).__name__ == "SpawnError":
            return cls(f"a model server cannot be reached: {error}")
        return None


def is_out_of_memory(message):
    return "out of memory" in message.lower()


class Tally:
    """What was asked of the models in a step."""

    def __init__(self, allow_partial=False):
        self.allow_partial = allow_partial
        self.calls = collections.defaultdict(lambda: {"calls": 0, "errors": 0, "cut_off": 0})
        self.warnings, self.out_of_memory = [], False
        self._lock = threading.Lock()

    def count(self, model, calls=0, errors=0, cut_off=0):
        with self._lock:
            counted = self.calls[model]
            counted["calls"] += calls
            counted["errors"] += errors
            counted["cut_off"] += cut_off

    def warn(self, message):
        with self._lock:
            self.out_of_memory |= is_out_of_memory(message)
            if len(self.warnings) < WARNINGS_MAX and message not in self.warnings:
                self.warnings.append(message)

    def errors(self):
        return sum(counted["errors"] for counted in self.calls.values())

    def raise_if_partial(self):
        """The library writes a document with holes where a model gave no answer. That is no result."""
        if self.errors() == 0 or self.allow_partial:
            return
        failed = {model: counted for model, counted in self.calls.items() if counted["errors"]}
        said = ", ".join(f"{counted['errors']} of {counted['calls']} calls of {model}" for model, counted in failed.items())
        last = f" The first warning: {self.warnings[0]}" if self.warnings else ""
        raise ModelServerError(f"{said} failed or cannot be read.{last}", self.out_of_memory)


class Models:
    """The clients of all models, as the converter wants them. They last as long as the runner."""

    def __init__(self):
        from marker.models import create_model_dict

        self.progress = None
        #: By thread: what was called off may still go on, and is not to be counted for the next job.
        self._of_thread = threading.local()
        self.manager = Manager(self)
        clients = create_model_dict(inference_manager=self.manager)
        clients["layout_model"] = VisionLayout(self, clients["layout_model"])
        clients["recognition_model"] = Reader(self, clients["recognition_model"])
        clients["fast_layout_model"] = Layout(self, clients["fast_layout_model"])
        clients["ocr_error_model"] = Judge(self, clients["ocr_error_model"])
        self.clients = clients
        listener = Listener(self)
        for name in ("marker", "surya"):
            logging.getLogger(name).addHandler(listener)

    @property
    def tally(self):
        return getattr(self._of_thread, "tally", None) or Tally()

    def count_for(self, tally):
        """What this thread does from now on is counted there."""
        self._of_thread.tally = tally

    @contextlib.contextmanager
    def at_work(self, progress, servers, allow_partial):
        """Counts for one step, during which the servers have these addresses."""
        tally = Tally(allow_partial)
        self.count_for(tally)
        self.progress = progress
        self.clients["fast_layout_model"].call_at(servers["layout"])
        self.clients["ocr_error_model"].call_at(servers["ocr_error"])
        self.manager.call_at(servers["vlm"])
        try:
            yield tally
        finally:
            self.count_for(None)
            self.progress = None


class Manager(SuryaInferenceManager):
    """Asks the vision model: sees each answer, and can be called off between two of them."""

    def __init__(self, models):
        # Nothing of it is used to start or to find a server: the worker has done that.
        super().__init__(method="vllm")
        self.models, self.url, self.client = models, None, None

    def call_at(self, url):
        """Where the server is from now on; nowhere if it does not run."""
        if url != self.url:
            self.url = url
            self.connect()

    def connect(self):
        """Breaks off what is under way."""
        if self.client is not None:
            self.client.close()
        self.client = self.url and OpenAI(api_key=settings.VLLM_API_KEY, base_url=self.url, max_retries=0)

    def generate(self, batch):
        if not batch:
            return []
        if self.client is None:
            raise NeedsServer("some of these pages have to be read by the vision model")
        models, tally = self.models, self.models.tally
        stage = "layout" if batch[0].prompt_type == "layout" else "ocr"
        answers, waiting = [None] * len(batch), {}
        pool = ThreadPoolExecutor(min(settings.SURYA_INFERENCE_PARALLEL or 4, len(batch)))
        try:
            waiting = {pool.submit(self.ask, item, tally): place for place, item in enumerate(batch)}
            while waiting:
                done, _ = wait(waiting, timeout=LOOK_EVERY, return_when=FIRST_COMPLETED)
                for future in done:
                    answers[waiting.pop(future)] = future.result()
                    models.progress.advance()
                models.progress(stage, len(batch) - len(waiting), len(batch))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            if waiting:
                self.connect()
        return answers

    def ask(self, item, tally):
        self.models.count_for(tally)
        # The library's own first answer is at a temperature of 0; what loops is asked for more freely.
        answer = self.once(item)
        for loop in range(LOOPS):
            if answer.error or not detect_repeat_token(answer.raw):
                break
            answer = self.once(dataclasses.replace(item, temperature=0.2 * (loop + 1), top_p=0.95))
        # A server that answers with nothing to a picture of something has not read it. Nor has one that says the same for
        # ever, which is thrown away later; whole pages are then read again block by block.
        loops = item.prompt_type == "block" and detect_repeat_token(answer.raw)
        nothing = not answer.raw.strip() and not is_blank_region(item.image)
        answer.error = answer.error or nothing or loops
        cut_off = item.max_tokens is not None and answer.token_count >= item.max_tokens
        tally.count("vlm", 1, int(answer.error), int(cut_off))
        return answer

    def once(self, item):
        """One answer, asked for again if it is an error. In this thread, so that what is logged is known to be of it."""
        for _ in range(1 + RETRIES):
            result = _generate_one(
                item,
                client=self.client,
                model_name=settings.SURYA_MODEL_CHECKPOINT,
                timeout=settings.SURYA_INFERENCE_TIMEOUT_SECONDS,
                request_logprobs_default=settings.SURYA_INFERENCE_LOGPROBS,
                **AS_THE_LIBRARY,
            )
            if not result.error:
                break
        return BatchOutputItem(**vars(result), metadata=item.metadata)


class Watched:
    """A model that is looked after. Everything else of it is as it was."""

    def __init__(self, models, inner):
        object.__setattr__(self, "_models", models)
        object.__setattr__(self, "_inner", inner)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __setattr__(self, name, value):
        setattr(self._inner, name, value)


class VisionLayout(Watched):
    """The vision model as one that finds blocks."""

    def __call__(self, images, *args, **kwargs):
        results = self._inner(images, *args, **kwargs)
        # What was not answered was counted as it happened; this is what was answered and nobody can read.
        self._models.tally.count("vlm", errors=sum(1 for result in results if result.error and result.raw))
        return results


class Reader(Watched):
    """The vision model as one that reads."""

    def __call__(self, images, layout_results=None, full_page=None, **kwargs):
        results = self._inner(images=images, layout_results=layout_results, full_page=full_page, **kwargs)
        if full_page or layout_results is None:
            # An answer without a single block is none, unless there is nothing on the page.
            unread = [image for image, result in zip(images, results) if not result.blocks and not is_blank_region(image)]
            self._models.tally.count("vlm", errors=len(unread))
        return results


class Served(Watched):
    """A model with a server of marker's own."""

    def call_at(self, url):
        """Where the server is from now on. The worker knows that it is well: it is not asked again, which a busy one
        might be too slow for."""
        client = self._inner._client._client
        if client.config.external_url == url:
            return
        client._reset()
        client.config.external_url = url
        if url is not None:
            client._base_url = url
            timeout = httpx.Timeout(client.config.request_timeout, connect=10)
            client._http = httpx.Client(base_url=url, timeout=timeout, trust_env=False)

    def in_batches(self, items, size, stage, ask, instead):
        """Asks for some at a time. Where there is no answer and holes are allowed, takes something instead."""
        models, answers = self._models, []
        for first in range(0, len(items), size):
            models.progress(stage, first, len(items))
            some = items[first : first + size]
            try:
                answers.append(ask(some))
                models.tally.count(self.name, len(some))
            except Exception as error:
                trouble = ModelServerError.of(error)
                if trouble is None:
                    raise
                if not models.tally.allow_partial:
                    raise trouble from None
                models.tally.warn(str(trouble))
                models.tally.count(self.name, len(some), len(some))
                answers.append(instead(some))
            models.progress.advance()
        return answers


class Layout(Served):
    """Finds the blocks of pages."""

    name = "layout"

    def __call__(self, images, *args, **kwargs):
        def nothing(some):
            return [LayoutResult(bboxes=[], image_bbox=[0, 0, *image.size], error=True) for image in some]

        answers = self.in_batches(images, PAGES_A_CALL, "layout", lambda some: self._inner(some, *args, **kwargs), nothing)
        results = [result for some in answers for result in some]
        if not self._models.tally.allow_partial:
            self._models.tally.count(self.name, errors=sum(1 for result in results if result.error))
        return results


class Judge(Served):
    """Tells text from garbage."""

    name = "ocr_error"

    def __call__(self, texts, *args, **kwargs):
        def benefit_of_doubt(some):
            return OCRErrorDetectionResult(texts=some, labels=["good"] * len(some), scores=[0.0] * len(some))

        answers = self.in_batches(texts, TEXTS_A_CALL, "text", lambda some: self._inner(some), benefit_of_doubt)
        return OCRErrorDetectionResult(
            texts=list(texts),
            labels=[label for some in answers for label in some.labels],
            scores=[score for some in answers for score in some.scores],
        )


class Listener(logging.Handler):
    """Hears what the libraries only log, such as text that they throw away."""

    def __init__(self, models):
        super().__init__(logging.WARNING)
        self.models = models

    def emit(self, record):
        self.models.tally.warn(record.getMessage()[:500])
