"""The models, which live in servers: what is asked of them is counted, shown as progress, and never lost silently."""

import collections
import contextlib
import logging
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from surya.inference import SuryaInferenceManager
from surya.inference.backends.openai_client import chat_completions_batch
from surya.inference.backends.spawn import SpawnError
from surya.settings import settings

#: How many pages are looked at by one call, so that progress is seen between two of them.
PAGES_A_CALL = 8
#: How many texts are judged by one call.
TEXTS_A_CALL = 32
#: How often what waits for answers looks whether the job was called off, in seconds.
LOOK_EVERY = 0.5
#: How often a request that failed is made again before the attempt fails.
RETRIES = 1
#: How many warnings of the libraries are kept.
WARNINGS_MAX = 50


class NeedsServer(Exception):
    """The pages need a server that is not running."""


class ModelServerError(Exception):
    """A model was asked and gave no answer."""

    kind = "model_server"

    def __init__(self, message):
        super().__init__(message)
        if "out of memory" in message.lower():
            self.kind = "gpu_oom"

    @classmethod
    def of(cls, error):
        """What an error of a library says about a server, if it does."""
        import httpx

        if isinstance(error, httpx.HTTPStatusError):
            return cls(f"{error.request.url} answered {error.response.status_code}: {error.response.text[:500]}")
        if isinstance(error, (httpx.TransportError, SpawnError, ConnectionError)):
            return cls(f"a model server cannot be reached: {error}")
        return None


class Tally:
    """What was asked of the models in a step."""

    def __init__(self):
        self.calls = collections.defaultdict(lambda: {"calls": 0, "errors": 0})
        self.warnings = []
        self._lock = threading.Lock()

    def count(self, model, calls, errors=0):
        with self._lock:
            self.calls[model]["calls"] += calls
            self.calls[model]["errors"] += errors

    def warn(self, message):
        with self._lock:
            if len(self.warnings) < WARNINGS_MAX and message not in self.warnings:
                self.warnings.append(message)

    def errors(self):
        return sum(counted["errors"] for counted in self.calls.values())

    def raise_unless(self, allow_partial):
        """The library writes a document with holes where a model gave no answer. That is no result."""
        if self.errors() == 0 or allow_partial:
            return
        failed = {model: counted for model, counted in self.calls.items() if counted["errors"]}
        said = ", ".join(f"{counted['errors']} of {counted['calls']} calls of {model}" for model, counted in failed.items())
        last = f" The last warning: {self.warnings[-1]}" if self.warnings else ""
        raise ModelServerError(f"{said} failed.{last}")


class Models:
    """The clients of all models, as the converter wants them. They last as long as the runner."""

    def __init__(self):
        from marker.models import create_model_dict

        self.tally, self.progress = Tally(), None
        self.manager = Manager(self)
        clients = create_model_dict(inference_manager=self.manager)
        clients["layout_model"] = Watched(self, clients["layout_model"])
        clients["fast_layout_model"] = Layout(self, clients["fast_layout_model"])
        clients["ocr_error_model"] = Judge(self, clients["ocr_error_model"])
        self.clients = clients
        listener = Listener(self)
        for name in ("marker", "surya"):
            logging.getLogger(name).addHandler(listener)

    @contextlib.contextmanager
    def at_work(self, progress, servers):
        """Counts for one step, during which the servers have these addresses."""
        self.tally, self.progress = Tally(), progress
        self.clients["fast_layout_model"].call_at(servers["layout"])
        self.clients["ocr_error_model"].call_at(servers["ocr_error"])
        self.manager.call_at(servers["vlm"])
        try:
            yield self.tally
        finally:
            self.progress = None


class Manager(SuryaInferenceManager):
    """Asks the VLM: sees each answer, and can be called off between two of them."""

    def __init__(self, models):
        # Both kinds of server speak alike; this client can also send a key.
        super().__init__(method="vllm")
        self.models = models

    def call_at(self, url):
        """Where the server is from now on; nowhere if it does not run."""
        if url != settings.SURYA_INFERENCE_URL:
            settings.SURYA_INFERENCE_URL = url
            self.backend.stop()

    def generate(self, batch):
        if not batch:
            return []
        models = self.models
        if settings.SURYA_INFERENCE_URL is None:
            raise NeedsServer("some of these pages have to be read by the vision model")
        self.backend.start()
        answers = [None] * len(batch)
        pool = ThreadPoolExecutor(min(settings.SURYA_INFERENCE_PARALLEL or 4, len(batch)))
        try:
            waiting = {pool.submit(self.ask, item): place for place, item in enumerate(batch)}
            while waiting:
                done, _ = wait(waiting, timeout=LOOK_EVERY, return_when=FIRST_COMPLETED)
                for future in done:
                    answer = answers[waiting.pop(future)] = future.result()
                    models.tally.count("vlm", 1, int(answer.error))
                stage = "layout" if batch[0].prompt_type == "layout" else "ocr"
                models.progress(stage, len(batch) - len(waiting), len(batch))
        finally:
            # What is under way ends by itself, at the latest by its own time limit.
            pool.shutdown(wait=False, cancel_futures=True)
        return answers

    def ask(self, item):
        backend = self.backend
        [answer] = chat_completions_batch(
            [item],
            client=backend._client.with_options(max_retries=0),
            model_name=backend.handle.model_name,
            timeout=settings.SURYA_INFERENCE_TIMEOUT_SECONDS,
            max_workers=1,
            max_retries=RETRIES,
            request_logprobs_default=settings.SURYA_INFERENCE_LOGPROBS,
        )
        return answer


class Watched:
    """A model whose results can say that they are none."""

    name = "vlm"

    def __init__(self, models, inner):
        object.__setattr__(self, "_models", models)
        object.__setattr__(self, "_inner", inner)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __setattr__(self, name, value):
        setattr(self._inner, name, value)

    def __call__(self, *args, **kwargs):
        results = self._inner(*args, **kwargs)
        # What the server did not answer was counted as it happened; this is what it answered and nobody can read.
        unread = sum(1 for result in results if result.error and result.raw)
        self._models.tally.count(self.name, 0, unread)
        return results


class Served(Watched):
    """A model with a server of marker's own."""

    def call_at(self, url):
        """Where the server is from now on."""
        client = self._inner._client._client
        if client.config.external_url != url:
            client.config.external_url = url
            client._reset()


class Layout(Served):
    """Finds the blocks of pages, some pages at a time."""

    name = "layout"

    def __call__(self, images, *args, **kwargs):
        models, results = self._models, []
        for first in range(0, len(images), PAGES_A_CALL):
            models.progress("layout", first, len(images))
            some = self._inner(images[first : first + PAGES_A_CALL], *args, **kwargs)
            models.tally.count(self.name, len(some), sum(1 for result in some if result.error))
            results += some
        return results


class Judge(Served):
    """Tells text from garbage, some texts at a time."""

    name = "ocr_error"

    def __call__(self, texts, *args, **kwargs):
        models, judged = self._models, None
        for first in range(0, len(texts), TEXTS_A_CALL):
            models.progress("text", first, len(texts))
            some = self._inner(texts[first : first + TEXTS_A_CALL], *args, **kwargs)
            models.tally.count(self.name, len(some.labels))
            if judged is None:
                judged = some
            else:
                judged.texts += some.texts
                judged.labels += some.labels
                judged.scores += some.scores
        return self._inner(texts) if judged is None else judged


class Listener(logging.Handler):
    """Hears what the libraries only log, such as text that they throw away."""

    def __init__(self, models):
        super().__init__(logging.WARNING)
        self.models = models

    def emit(self, record):
        self.models.tally.warn(record.getMessage()[:500])
