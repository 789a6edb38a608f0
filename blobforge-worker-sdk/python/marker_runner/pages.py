"""Pages of a PDF become blocks: everything that needs the source or a model, and nothing that needs other pages.

The converter of marker does all of its work on whole documents. What it does with a page alone is done here, range by
range; what it does across pages is done over all of them in `document.py`. Both together do the same in the same order,
so that it makes no difference for the text how the pages were divided.
"""

import html

import links
from marker.builders.document import DocumentBuilder
from marker.builders.layout import LayoutBuilder
from marker.builders.line import LineBuilder
from marker.builders.ocr import OcrBuilder
from marker.builders.structure import StructureBuilder
from marker.config.parser import ConfigParser
from marker.converters.pdf import PdfConverter
from marker.providers.pdf import PdfProvider
from marker.schema import BlockTypes
from marker.schema.document import Document
from marker.schema.registry import get_block_class

#: Done with each page alone, in the converter's order.
OF_A_PAGE = (
    "BlockRelabelProcessor",
    "LineMergeProcessor",
    "BlockquoteProcessor",
    "CodeProcessor",
    "EquationProcessor",
    "FootnoteProcessor",
)
#: Reads tables by the source and the models, and then moves blocks about: the one is done here, the other later.
TABLES = "TableProcessor"
#: Done with the whole document, in the converter's order. It lists the headings before it knows their levels; here that
#: is done after.
OF_THE_DOCUMENT = (
    "IgnoreTextProcessor",
    "LineNumbersProcessor",
    "ListProcessor",
    "PageHeaderProcessor",
    "MarginaliaProcessor",
    "SectionHeaderProcessor",
    "DocumentTOCProcessor",
    TABLES,
    "TextProcessor",
    "ReferenceProcessor",
)
#: Does nothing unless it is asked to, and is not.
LEFT_OUT = ("BlankPageProcessor", "DebugProcessor")

IMAGES = (BlockTypes.Picture, BlockTypes.Figure, BlockTypes.Diagram)


def check_processors():
    """Another version of marker may do more than is known here. Then nothing is done rather than the wrong thing."""
    known = {*OF_A_PAGE, *OF_THE_DOCUMENT, *LEFT_OUT}
    names = [processor.__name__ for processor in PdfConverter.default_processors]
    strange = [name for name in names if name not in known and not name.startswith("LLM")]
    missing = sorted(known - set(names))
    if strange or missing:
        raise RuntimeError(f"this version of marker-pdf is not known here: new {strange}, gone {missing}")


def converter(order, models, pages=None):
    """Marker's converter with the options of the job."""
    options = {**order["options"], "mode": "fast", "disable_multiprocessing": True, "disable_tqdm": True}
    options.setdefault("output_format", "markdown")
    match order["mode"]:
        case "no-ocr":
            options["disable_ocr"] = True
        case mode:
            options["mode"] = mode
    parser = ConfigParser(options)
    config = parser.generate_config_dict()
    if pages is not None:
        config["page_range"] = pages
    return PdfConverter(config=config, artifact_dict=models.clients, renderer=parser.get_renderer())


def processors(converter):
    """Its processors by name."""
    return {type(processor).__name__: processor for processor in converter.processor_list}


def convert(source, order, models, progress):
    """The pages as blocks, with what stands in their tables, their pictures, and where their links lead."""
    progress("reading")
    marker = converter(order, models, order["pages"])
    with links.recorded() as led:
        provider = PdfProvider(source, marker.config)
    document = DocumentBuilder(marker.config)(
        provider,
        marker.resolve_dependencies(LayoutBuilder),
        marker.resolve_dependencies(LineBuilder),
        marker.resolve_dependencies(OcrBuilder),
    )
    marker.resolve_dependencies(StructureBuilder)(document)
    by_name = processors(marker)
    for name in OF_A_PAGE:
        progress.check()
        by_name[name](document)
        progress.advance()
    if models.tally.errors():
        mark_holes(document)
    progress("tables")
    stored = Stored(document, led)
    stored.tables = read_tables(by_name[TABLES], document)
    if marker.config.get("extract_images", True):
        stored.take_pictures(document, progress)
    return stored


def read_tables(processor, document):
    """Has the tables read, and says what stands in each, without keeping how the pages were changed by that."""
    tables = [block for blocks in processor.collect_tables(document).values() for block in blocks]
    unread = [block for block in tables if not block.html]
    processor(document)
    return {str(block.id): (block.html, block.text_extraction_method) for block in unread if block.html}


class Stored:
    """Pages as they were at one time, and the pictures in them."""

    def __init__(self, document, led=None):
        from parts import page_to_json

        self.pages = [page_to_json(page) for page in document.pages]
        #: What stands in tables, by their ids.
        self.tables = {}
        #: By the name that marker gives them.
        self.pictures = {}
        #: Where links of a page lead to in the document.
        self.links = led or {}

    def take_pictures(self, document, progress):
        from marker.output import convert_if_not_rgb

        for number, page in enumerate(document.pages):
            progress("pictures", number, len(document.pages))
            for block in page.contained_blocks(document, IMAGES):
                picture = block.get_image(document, highres=True)
                self.pictures[block.id.to_path()] = convert_if_not_rgb(picture)
            # A page drawn in full is large, and nobody needs it any more.
            page.lowres_image = page.highres_image = None


def missing_page(source, number, why):
    """A page on which it says that it is missing."""
    page = get_block_class(BlockTypes.Page)(
        page_id=number, polygon=page_polygon(source, number), refs=[], structure=[], children=[]
    )
    mark(page, why)
    return Stored(Document(filepath=source, pages=[page]))


def mark_holes(document):
    """Where a model was asked for a page and said nothing that can be read, it says so in the document."""
    for page in document.pages:
        if not page.structure:
            mark(page, "a model gave no answer that can be read")


def mark(page, why):
    text = page.add_block(get_block_class(BlockTypes.Text), page.polygon)
    text.html = f"<p><b>[{html.escape(f'Page {page.page_id + 1} is missing here: {why}', quote=False)}]</b></p>"
    text.structure = []
    page.add_structure(text)


def page_polygon(source, number):
    import pypdfium2
    from marker.schema.polygon import PolygonBox

    document = pypdfium2.PdfDocument(source)
    try:
        width, height = document.get_page_size(number)
    except Exception:
        width, height = 595, 842
    finally:
        document.close()
    return PolygonBox.from_bbox([0, 0, width, height])
