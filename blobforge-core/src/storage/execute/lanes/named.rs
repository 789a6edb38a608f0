//! What a batch knows by name.

use std::{collections::HashMap, rc::Rc};

/// Things by their names, in the order in which they became known.
pub(super) struct Named<T> {
    positions: HashMap<Rc<str>, usize>,
    all: Vec<(Rc<str>, T)>,
}

impl<T> Named<T> {
    pub(super) fn new() -> Self {
        Self { positions: HashMap::new(), all: Vec::new() }
    }

    /// Where the thing of this name is.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.position(name).map(|at| &self.all[at].1)
    }

    /// The name and the thing at a position.
    pub(super) fn at(&mut self, position: usize) -> (&Rc<str>, &mut T) {
        let (name, thing) = &mut self.all[position];
        (name, thing)
    }

    /// Adds one that is not known yet, and says where it is.
    pub(super) fn insert(&mut self, name: impl Into<Rc<str>>, thing: T) -> usize {
        let name = name.into();
        let position = self.all.len();
        self.positions.insert(Rc::clone(&name), position);
        self.all.push((name, thing));
        position
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.all.iter_mut().map(|(_, thing)| thing)
    }
}
