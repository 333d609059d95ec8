//! An API of Tencent Cloud that answers with a level and risk types.

use super::{ApiSettings, Client, Parameters, answer_of_code};
use crate::claim::{Claim, DeadLetterReason};
use crate::risk::setup::Setup;
use crate::risk::{Answer, ApiResult, Attempt, Registration, Request, RiskApi, SectionError};

/// One such API.
#[derive(Debug)]
pub struct LevelApi {
    registration: &'static Registration,
    client: Client,
    check: fn(&Claim) -> Result<(), DeadLetterReason>,
    parameters: fn(&Claim) -> Parameters<'_>,
}

impl LevelApi {
    /// The API for `Action=action`, with its checks of a claim and its parameters.
    ///
    /// # Errors
    /// [`SectionError`], naming the key.
    pub fn build(
        action: &'static str,
        check: fn(&Claim) -> Result<(), DeadLetterReason>,
        parameters: fn(&Claim) -> Parameters<'_>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn RiskApi>, SectionError> {
        let settings: ApiSettings = setup.settings()?;
        let client = Client::new(action, settings, setup);
        Ok(Box::new(Self { registration: setup.registration, client, check, parameters }))
    }
}

impl RiskApi for LevelApi {
    fn registration(&self) -> &'static Registration {
        self.registration
    }

    fn check(&self, claim: &Claim) -> Result<(), DeadLetterReason> {
        (self.check)(claim)?;
        self.client.check(&(self.parameters)(claim))
    }

    fn request(&self, claim: &Claim, attempt: &Attempt<'_>) -> Request {
        self.client.request((self.parameters)(claim), attempt)
    }

    fn read(&self, answer: &Answer<'_>) -> ApiResult {
        self.client.read_level(answer, self.registration)
    }

    fn answer_of_code(&self, provider_code: i64) -> String {
        answer_of_code(provider_code)
    }
}
