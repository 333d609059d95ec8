//! The steps of a replay around Kafka: look for what was cut short, announce, send, record the
//! places.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use time::OffsetDateTime;

use super::event::{Event, replays_headers};
use super::journal::{announce, record_places};
use super::letters::{LatestReplay, contents};
use super::outcome::Outcome;
use super::producer::ReplayProducer;
use super::replay::{Replay, replayed};
use super::{DeadLetterError, recovery};
use crate::decision::Source;
use crate::outbox::commands::SendError;
use crate::schema::{DeadLetterRow, LetterId, ReplayId, headers_from_json};

impl<W: Write> Replay<'_, W> {
    /// Looks in the topic for replays that were cut short. Returns those that are not there.
    pub(super) async fn look_for(
        &mut self,
        unfinished: Vec<(ReplayId, LatestReplay)>,
    ) -> Result<Vec<ReplayId>, DeadLetterError> {
        let Some(since) = unfinished.iter().map(|(_, latest)| latest.announced_at).min() else {
            return Ok(Vec::new());
        };
        let found = self.find(unfinished.iter().map(|(id, _)| id.clone()).collect(), since).await?;
        let mut missing = Vec::new();
        for (id, latest) in unfinished {
            match found.get(&id) {
                Some(place) => {
                    let why = format!(
                        "{}, though its command was cut short: it is at {place}",
                        replayed(&latest)
                    );
                    self.reporter.say(&id.letter, Outcome::LeftOut(why))?;
                }
                None => missing.push(id),
            }
        }
        Ok(missing)
    }

    /// Finds the events of replays in the topic, and records their places.
    async fn find(
        &self,
        replays: HashSet<ReplayId>,
        since: OffsetDateTime,
    ) -> Result<HashMap<ReplayId, Source>, DeadLetterError> {
        let settings = self.context.kafka.clone();
        let found = tokio::task::spawn_blocking(move || recovery::find(&settings, &replays, since));
        let found = found.await.map_err(|error| DeadLetterError::Kafka(error.to_string()))??;
        let places: Vec<(ReplayId, Source)> = found.clone().into_iter().collect();
        record_places(self.context.store, &places, &self.request.approval.by).await?;
        Ok(found)
    }

    /// The existing producer, or a new one.
    pub(super) async fn take_producer(&mut self) -> Result<ReplayProducer, DeadLetterError> {
        match self.producer.take() {
            Some(producer) => Ok(producer),
            None => ReplayProducer::start(self.context.kafka).await,
        }
    }

    /// Announces new replays and sends them, together with those that were announced before.
    pub(super) async fn send(
        &mut self,
        due: Vec<ReplayId>,
        resumed: Vec<ReplayId>,
    ) -> Result<(), DeadLetterError> {
        let letters: Vec<LetterId> =
            due.iter().chain(&resumed).map(|id| id.letter.clone()).collect();
        let kept = contents(self.context.store, &letters).await?;
        let mut kept: HashMap<LetterId, DeadLetterRow> =
            kept.into_iter().map(|letter| (letter.id.clone(), letter)).collect();
        let announced: HashSet<ReplayId> =
            announce(self.context.store, &due, &self.request.approval).await?.into_iter().collect();
        let mut events = Vec::new();
        for id in due.iter().filter(|id| announced.contains(id)).chain(&resumed) {
            match kept.remove(&id.letter).and_then(|letter| event(id, letter)) {
                Some(event) => events.push(event),
                None => {
                    let why =
                        "its row in dead_letters is gone, or its headers cannot be read".to_owned();
                    self.reporter.say(&id.letter, Outcome::Failed(why))?;
                }
            }
        }
        for id in due.iter().filter(|id| !announced.contains(id)) {
            let why = format!("somebody else announced its replay {} at this moment", id.number);
            self.reporter.say(&id.letter, Outcome::LeftOut(why))?;
        }
        self.send_in_transactions(events).await
    }

    /// Sends events in one transaction; if one of them is too large for the topic, all but that
    /// one.
    async fn send_in_transactions(
        &mut self,
        mut events: Vec<Event>,
    ) -> Result<(), DeadLetterError> {
        while !events.is_empty() {
            match self.take_producer().await?.send(&events).await {
                Ok((sender, places)) => {
                    self.producer = Some(sender);
                    let places: Vec<(ReplayId, Source)> =
                        events.iter().map(Event::id).zip(places).collect();
                    record_places(self.context.store, &places, &self.request.approval.by).await?;
                    for (id, place) in places {
                        self.reporter.say(&id.letter, Outcome::Replayed(id.number, place))?;
                    }
                    return Ok(());
                }
                Err(SendError::TooLarge(index)) => {
                    let why =
                        "with the headers of its replay it is too large for the topic".to_owned();
                    self.reporter.say(&events.remove(index).letter, Outcome::Failed(why))?;
                    self.forget_taken_over(&mut events).await?;
                }
                Err(SendError::Ended(error)) => return Err(DeadLetterError::Kafka(error)),
            }
        }
        Ok(())
    }

    /// Before this command had a producer, another command may have found these replays announced
    /// but not sent, and sent them.
    async fn forget_taken_over(&mut self, events: &mut Vec<Event>) -> Result<(), DeadLetterError> {
        self.producer = Some(self.take_producer().await?);
        let found = self.find(events.iter().map(Event::id).collect(), self.started).await?;
        events.retain(|event| !found.contains_key(&event.id()));
        for (id, place) in found {
            let why = format!(
                "another command sent its replay {} meanwhile: it is at {place}",
                id.number
            );
            self.reporter.say(&id.letter, Outcome::LeftOut(why))?;
        }
        Ok(())
    }
}

fn event(id: &ReplayId, letter: DeadLetterRow) -> Option<Event> {
    let own = headers_from_json(letter.headers)?;
    Some(Event {
        headers: replays_headers(own, id.number, &id.letter),
        letter: id.letter.clone(),
        number: id.number,
        key: letter.key,
        payload: letter.payload,
    })
}
