//! Adding a worker: a token that is good for it alone, and what to paste where it is to run.

use askama::Template;
use blobforge_worker_sdk::marker::{DOWNLOAD_BYTES, INSTALLED_BYTES};
use poem::{Response, handler};

use super::{
    fault::Fault,
    frame::{Frame, Section, Visitor, page as sent},
};
use crate::words;

/// Where the service is reached, if nothing says it.
const SOMEWHERE: &str = "http://127.0.0.1:8080";

#[derive(Template)]
#[template(path = "add_worker.html")]
struct AddWorkerPage {
    frame: Frame,
    /// A name that no worker has yet.
    suggested: String,
    engines: [Engine; 3],
    places: [Place; 4],
    recipes: Vec<Recipe>,
}

/// Shows how to add a worker.
#[handler]
pub(super) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let workers = visitor.shared.queue.workers().await?;
    let tokens = visitor.shared.accounts.list().await?;
    let of_tokens = tokens.iter().filter_map(|account| account.token.worker_id.as_ref());
    let taken: Vec<_> = workers
        .iter()
        .map(|worker| worker.registration.id.as_str())
        .chain(of_tokens.map(|id| id.as_str()))
        .collect();
    let origin = if visitor.origin.is_empty() { SOMEWHERE } else { &visitor.origin };
    let pairs = Place::ALL.into_iter().flat_map(|place| Engine::ALL.map(|engine| (place, engine)));
    sent(&AddWorkerPage {
        suggested: suggested(&taken),
        engines: Engine::ALL,
        places: Place::ALL,
        recipes: pairs.map(|(place, engine)| Recipe::new(place, engine, origin)).collect(),
        frame: visitor.frame(Section::Workers, "Add a worker"),
    })
}

/// The first of `worker-1`, `worker-2`… that is nobody's.
fn suggested(taken: &[&str]) -> String {
    let mut names = (1..=taken.len() + 1).map(|number| format!("worker-{number}"));
    names.find(|name| !taken.contains(&name.as_str())).unwrap_or_default()
}

/// What a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Text,
    Marker,
    Program,
}

impl Engine {
    const ALL: [Self; 3] = [Self::Text, Self::Marker, Self::Program];

    /// What it is called within the page.
    fn key(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Marker => "marker",
            Self::Program => "program",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "Text of PDFs",
            Self::Marker => "marker-pdf",
            Self::Program => "A program of yours",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Text => "built in, type pdf-text, reads no scans",
            Self::Marker => "type pdf, scans too, makes its Python environment",
            Self::Program => "any type, any language",
        }
    }

    /// What follows `blobforge worker`.
    fn flags(self) -> &'static str {
        match self {
            Self::Text => "",
            Self::Marker => " --engine marker",
            Self::Program => " --type book -- pandoc {source} -o {outdir}/book.html",
        }
    }

    /// What it needs wherever it runs.
    fn needs(self) -> String {
        match self {
            Self::Text => String::new(),
            Self::Marker => format!(
                " Python 3.10 or newer with venv; {} are downloaded at the first start, and have {} on the disk.",
                words::size(DOWNLOAD_BYTES),
                words::size(INSTALLED_BYTES)
            ),
            Self::Program => {
                " The program itself: pandoc stands for yours, and book for its type.".to_owned()
            }
        }
    }
}

/// Where a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Linux,
    Gpu,
    Container,
    GpuContainer,
}

impl Place {
    const ALL: [Self; 4] = [Self::Linux, Self::Gpu, Self::Container, Self::GpuContainer];

    /// What it is called within the page.
    fn key(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Container => "container",
            Self::Gpu => "gpu",
            Self::GpuContainer => "gpu-container",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Container => "Container",
            Self::Gpu => "Linux with a GPU",
            Self::GpuContainer => "Container with a GPU",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Linux => "a shell on the machine",
            Self::Container => "docker or podman",
            Self::Gpu => "offers the label gpu",
            Self::GpuContainer => "CUDA and llama-server in it",
        }
    }

    fn needs(self) -> &'static str {
        match self {
            Self::Linux => "It needs the program blobforge on that machine.",
            Self::Container => {
                "It needs docker, or podman in its place, and the image blobforge-worker, which is built from deploy/Containerfile: \
                 docs/containers.md. The volume keeps the worker's name and what it works on."
            }
            Self::GpuContainer => {
                "It needs docker with NVIDIA's container toolkit, and the image blobforge-worker-cuda, which is built from \
                 deploy/Containerfile: docs/containers.md. The volumes keep the worker's name, what it works on, and weights."
            }
            Self::Gpu => {
                "It needs the program blobforge, and an NVIDIA driver whose nvidia-smi finds the card."
            }
        }
    }
}

/// What to paste for one choice.
struct Recipe {
    /// The choice, as the page names it.
    choice: String,
    needs: String,
    /// With `{worker_id}` and `{token}` where those belong.
    commands: String,
}

impl Recipe {
    fn new(place: Place, engine: Engine, origin: &str) -> Self {
        let gpu = if place == Place::Gpu { " --use-gpu" } else { "" };
        let worker = format!("worker --id {{worker_id}}{gpu}{}", engine.flags());
        let in_container = |image: &str, more: &str| {
            format!(
                "docker run --detach --restart unless-stopped --name {{worker_id}} \\\n  \
                 --env BLOBFORGE_SERVER_URL={origin} \\\n  --env BLOBFORGE_API_TOKEN={{token}} \\\n  \
                 --volume {{worker_id}}:/worker{more} \\\n  {image} {worker}"
            )
        };
        let commands = match place {
            Place::Linux | Place::Gpu => format!(
                "export BLOBFORGE_SERVER_URL={origin}\nexport BLOBFORGE_API_TOKEN={{token}}\nblobforge {worker}"
            ),
            Place::Container => in_container("blobforge-worker", ""),
            // That image offers its card by itself.
            Place::GpuContainer => {
                in_container("blobforge-worker-cuda", " --volume blobforge-weights:/weights --gpus all")
            }
        };
        Self {
            choice: format!("{} {}", place.key(), engine.key()),
            needs: format!("{}{}", place.needs(), engine.needs()),
            commands,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_has_is_not_suggested() {
        assert_eq!(suggested(&[]), "worker-1");
        assert_eq!(suggested(&["worker-1", "attic", "worker-3"]), "worker-2");
    }

    #[test]
    fn every_choice_has_a_command_with_the_address_the_worker_and_its_token() {
        for place in Place::ALL {
            for engine in Engine::ALL {
                let recipe = Recipe::new(place, engine, "https://forge.example");
                for part in ["https://forge.example", "{token}", "worker --id {worker_id}", engine.flags()] {
                    assert!(recipe.commands.contains(part), "{part} in {}", recipe.commands);
                }
                assert_eq!(recipe.commands.contains("--use-gpu"), place == Place::Gpu);
            }
        }
    }

    /// The part of deploy/Containerfile that makes an image.
    fn stage(name: &str) -> String {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/Containerfile");
        let text = std::fs::read_to_string(file).unwrap();
        let built = format!("--target {name} --tag blobforge-{name} .");
        assert!(text.contains(&built), "{built} is how it is said to be built");
        let (_, rest) = text.split_once(&format!(" AS {name}\n")).unwrap();
        rest.split("\nFROM ").next().unwrap().to_owned()
    }

    #[test]
    fn commands_for_containers_are_for_the_images_that_there_are() {
        for (place, name) in [(Place::Container, "worker"), (Place::GpuContainer, "worker-cuda")] {
            let stage = stage(name);
            assert!(stage.contains("ENTRYPOINT [\"tini\", \"--\", \"blobforge\"]"), "{stage}");
            for engine in Engine::ALL {
                let commands = Recipe::new(place, engine, "https://forge.example").commands;
                let (options, command) =
                    commands.split_once(&format!("\n  blobforge-{name} worker ")).unwrap();
                let volumes =
                    options.split("--volume ").skip(1).map(|rest| rest.split([' ', ':']).nth(1).unwrap());
                for volume in volumes {
                    assert!(
                        stage.contains(&format!("VOLUME /worker {volume}")) || volume == "/worker",
                        "{volume}"
                    );
                }
                // What the image does by itself is not said again.
                let offers = stage.contains("BLOBFORGE_USE_GPU=true");
                assert_eq!((offers, command.contains("--use-gpu")), (place == Place::GpuContainer, false));
                let words = command.replace("{worker_id}", "attic");
                let line = format!("blobforge worker {words}");
                let read = crate::cli::command().try_get_matches_from(line.split_whitespace());
                assert!(read.is_ok(), "{line}: {}", read.err().unwrap());
            }
        }
    }
}
