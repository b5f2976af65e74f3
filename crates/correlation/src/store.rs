//! The windows of all groups: found by their key, bounded a tenant and in total. The first to go is the one that has been there for the
//! longest without being used again: its place in the line is looked at, and one that was used since goes back to the end. So a use costs
//! a bit and not three neighbours, which would be elsewhere in memory.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::window::Window;

/// What a group is found by: 128 bits of the SHA-256 over tenant, correlation and the group's values, without case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(pub [u8; 16]);

impl GroupKey {
    fn bits(self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|at| self.0[at]))
    }
}

/// No slot, or the end of a list.
const NONE: u32 = u32::MAX;
/// Slots are made so many at a time, so that none is ever moved.
const CHUNK: usize = 4096;
/// What a group takes beside its window's own bytes: its slot, and its place in the table.
const OVERHEAD: usize = size_of::<Slot>() + 8;

#[derive(Debug)]
struct Slot {
    key: GroupKey,
    window: Window,
    correlation: u32,
    tenant: u32,
    /// The next in the tenant's line.
    newer: u32,
    /// Whether it was used since it came to its place in the line.
    is_used: bool,
}

#[derive(Debug)]
struct Tenant {
    name: Box<str>,
    newest: u32,
    oldest: u32,
    bytes: usize,
}

/// The windows.
#[derive(Debug)]
pub(crate) struct Store {
    chunks: Vec<Vec<Slot>>,
    free: Vec<u32>,
    table: Vec<u32>,
    count: usize,
    bytes: usize,
    tenants: Vec<Tenant>,
    by_name: HashMap<Box<str>, u32, RandomState>,
    free_tenants: Vec<u32>,
}

/// A group's place, as long as it is not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            table: vec![NONE; 1024],
            count: 0,
            bytes: 0,
            tenants: Vec::new(),
            by_name: HashMap::default(),
            free_tenants: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn slot(&self, at: u32) -> &Slot {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    pub(crate) fn window(&mut self, Place(at): Place) -> &mut Window {
        &mut self.slot_mut(at).window
    }

    /// The group of this key, with an empty window if there was none.
    pub(crate) fn get_or_add(&mut self, tenant: &str, correlation: usize, key: GroupKey) -> Place {
        if let Some(at) = self.find(key) {
            self.slot_mut(at).is_used = true;
            return Place(at);
        }
        let tenant = self.tenant(tenant);
        let correlation = u32::try_from(correlation).unwrap_or(u32::MAX);
        let slot = Slot { key, window: Window::default(), correlation, tenant, newer: NONE, is_used: false };
        let at = match self.free.pop() {
            Some(at) => {
                *self.slot_mut(at) = slot;
                at
            }
            None => self.add_slot(slot),
        };
        self.count += 1;
        if self.count * 4 > self.table.len() * 3 {
            self.grow();
        }
        self.put(at);
        self.link(at);
        self.account(at, OVERHEAD, 0);
        Place(at)
    }

    fn add_slot(&mut self, slot: Slot) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().map_or(0, |chunk| {
            chunk.push(slot);
            chunk.len() - 1
        });
        u32::try_from(full + chunk).unwrap_or(NONE)
    }

    /// Says that the group's window has become larger or smaller.
    pub(crate) fn resized(&mut self, Place(at): Place, before: usize, after: usize) {
        self.account(at, after, before);
    }

    fn account(&mut self, at: u32, more: usize, less: usize) {
        let tenant = self.slot(at).tenant as usize;
        self.bytes = self.bytes + more - less;
        self.tenants[tenant].bytes = self.tenants[tenant].bytes + more - less;
    }

    /// What the tenant of this group has.
    pub(crate) fn bytes_of_tenant(&self, Place(at): Place) -> usize {
        self.tenants[self.slot(at).tenant as usize].bytes
    }

    /// Drops the group of the same tenant that was used longest ago: its correlation and window.
    pub(crate) fn drop_oldest_beside(&mut self, Place(at): Place) -> Option<(usize, Window)> {
        self.drop_oldest_of(self.slot(at).tenant as usize)
    }

    /// Drops that of the tenant which has most.
    pub(crate) fn drop_oldest_of_largest(&mut self) -> Option<(usize, Window)> {
        let largest = self.tenants.iter().enumerate().max_by_key(|(_, tenant)| tenant.bytes)?.0;
        self.drop_oldest_of(largest)
    }

    fn drop_oldest_of(&mut self, tenant: usize) -> Option<(usize, Window)> {
        let at = self.unlink_unused(tenant)?;
        let correlation = self.slot(at).correlation as usize;
        self.take_out(at);
        let window = std::mem::take(&mut self.slot_mut(at).window);
        self.account(at, 0, OVERHEAD + window.bytes());
        self.free.push(at);
        self.count -= 1;
        let of = &mut self.tenants[tenant];
        if of.oldest == NONE {
            self.by_name.remove(&of.name);
            self.free_tenants.push(u32::try_from(tenant).unwrap_or(NONE));
        }
        Some((correlation, window))
    }

    /// All groups, each with its tenant, correlation and window, those of a tenant in the order of its line.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, usize, GroupKey, &Window)> {
        self.by_name.values().flat_map(move |tenant| {
            let tenant = &self.tenants[*tenant as usize];
            let mut at = tenant.oldest;
            std::iter::from_fn(move || {
                let slot = (at != NONE).then(|| self.slot(at))?;
                at = slot.newer;
                Some((&*tenant.name, slot.correlation as usize, slot.key, &slot.window))
            })
        })
    }

    fn tenant(&mut self, name: &str) -> u32 {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        let tenant = Tenant { name: name.into(), newest: NONE, oldest: NONE, bytes: 0 };
        let at = match self.free_tenants.pop() {
            Some(at) => {
                self.tenants[at as usize] = tenant;
                at
            }
            None => {
                self.tenants.push(tenant);
                u32::try_from(self.tenants.len() - 1).unwrap_or(NONE)
            }
        };
        self.by_name.insert(name.into(), at);
        at
    }
}

/// The lines in which groups wait to be dropped.
impl Store {
    /// Puts a group at the end of its tenant's line.
    fn link(&mut self, at: u32) {
        let tenant = self.slot(at).tenant as usize;
        self.slot_mut(at).newer = NONE;
        match self.tenants[tenant].newest {
            NONE => self.tenants[tenant].oldest = at,
            before => self.slot_mut(before).newer = at,
        }
        self.tenants[tenant].newest = at;
    }

    /// Takes the first of the line that was not used since it came to its place.
    fn unlink_unused(&mut self, tenant: usize) -> Option<u32> {
        loop {
            let at = self.tenants[tenant].oldest;
            if at == NONE {
                return None;
            }
            let slot = self.slot_mut(at);
            let (was_used, newer) = (std::mem::take(&mut slot.is_used), slot.newer);
            let of = &mut self.tenants[tenant];
            of.oldest = newer;
            if newer == NONE {
                of.newest = NONE;
            }
            if !was_used {
                return Some(at);
            }
            self.link(at);
        }
    }
}

/// The table: slots by the first bits of their keys, which are evenly spread; what finds its place taken stands behind it.
impl Store {
    fn home(&self, key: GroupKey) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are wanted")]
        let home = key.bits() as usize & (self.table.len() - 1);
        home
    }

    fn find(&self, key: GroupKey) -> Option<u32> {
        let mut at = self.home(key);
        loop {
            match self.table[at] {
                NONE => return None,
                slot if self.slot(slot).key == key => return Some(slot),
                _ => at = (at + 1) & (self.table.len() - 1),
            }
        }
    }

    fn put(&mut self, slot: u32) {
        let mut at = self.home(self.slot(slot).key);
        while self.table[at] != NONE {
            at = (at + 1) & (self.table.len() - 1);
        }
        self.table[at] = slot;
    }

    fn grow(&mut self) {
        let larger = vec![NONE; self.table.len() * 2];
        let before = std::mem::replace(&mut self.table, larger);
        before.into_iter().filter(|slot| *slot != NONE).for_each(|slot| self.put(slot));
    }

    /// Takes a slot out, and moves those up that stand behind it for want of a place.
    fn take_out(&mut self, slot: u32) {
        let last = self.table.len() - 1;
        let mut hole = self.home(self.slot(slot).key);
        while self.table[hole] != slot {
            hole = (hole + 1) & last;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & last;
            let next = self.table[at];
            if next == NONE {
                break;
            }
            let home = self.home(self.slot(next).key);
            // Whether its home is not between the hole and where it stands.
            if (at.wrapping_sub(home) & last) >= (at.wrapping_sub(hole) & last) {
                self.table[hole] = next;
                hole = at;
            }
        }
        self.table[hole] = NONE;
    }
}
