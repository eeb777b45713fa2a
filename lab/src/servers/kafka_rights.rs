//! Rights that an authorizer of Kafka asks for: given and taken away as `kafka-acls.sh` would (its arguments), by CreateAcls and
//! DeleteAcls.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest};
use kafka_protocol::protocol::StrBytes;

use super::Kafka;
use crate::error::LabError;
use crate::kafka_client::all_well;

const CREATE_ACLS_VERSION: i16 = 3;
const DELETE_ACLS_VERSION: i16 = 3;
/// Of a resource's pattern: its name as it is.
const LITERAL: i8 = 3;
/// Of a permission.
const ALLOW: i8 = 3;
/// The settings of a broker that asks for rights of everybody who has logged in; who uses a listener without logins may do all.
pub const AUTHORIZER: [(&str, &str); 2] = [
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("super.users", "User:ANONYMOUS"),
];

/// What a user may do to one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaRight {
    principal: String,
    resource: (i8, String),
    operation: i8,
}

impl KafkaRight {
    /// Those that a line `kafka-acls.sh … --add …` gives.
    ///
    /// # Errors
    /// It has an argument that is not known here.
    pub fn parse(line: &str) -> Result<Vec<KafkaRight>, LabError> {
        let mut words = line.split_whitespace().skip_while(|word| *word != "--add").skip(1);
        let (mut principal, mut resource, mut operations) = (None, None, Vec::new());
        while let (Some(flag), Some(value)) = (words.next(), words.next()) {
            match flag {
                "--allow-principal" => principal = Some(value.to_owned()),
                "--topic" => resource = Some((2, value.to_owned())),
                "--group" => resource = Some((3, value.to_owned())),
                "--operation" => operations.push(operation(value)?),
                _ => return Err(LabError::failed(format!("{line}: what is {flag}?"))),
            }
        }
        let (Some(principal), Some(resource)) = (principal, resource) else {
            return Err(LabError::failed(format!("{line}: of whom, and on what?")));
        };
        let right = |operation| KafkaRight { principal: principal.clone(), resource: resource.clone(), operation };
        Ok(operations.into_iter().map(right).collect())
    }
}

fn operation(name: &str) -> Result<i8, LabError> {
    match name {
        "Read" => Ok(3),
        "Write" => Ok(4),
        "Create" => Ok(5),
        "Describe" => Ok(8),
        "DescribeConfigs" => Ok(10),
        _ => Err(LabError::failed(format!("there is no operation {name} here"))),
    }
}

impl Kafka {
    /// Gives rights.
    ///
    /// # Errors
    /// Where the broker refuses, or has no authorizer.
    pub fn grant(&self, rights: &[KafkaRight]) -> Result<(), LabError> {
        let creation = |right: &KafkaRight| {
            AclCreation::default()
                .with_resource_type(right.resource.0)
                .with_resource_name(text(&right.resource.1))
                .with_resource_pattern_type(LITERAL)
                .with_principal(text(&right.principal))
                .with_host(text("*"))
                .with_operation(right.operation)
                .with_permission_type(ALLOW)
        };
        let request = CreateAclsRequest::default().with_creations(rights.iter().map(creation).collect());
        let answer = self.connection()?.call(CREATE_ACLS_VERSION, &request)?;
        all_well("giving rights", answer.results.iter().map(|result| result.error_code))
    }

    /// Takes rights away.
    ///
    /// # Errors
    /// As [`Kafka::grant`].
    pub fn revoke(&self, rights: &[KafkaRight]) -> Result<(), LabError> {
        let filter = |right: &KafkaRight| {
            DeleteAclsFilter::default()
                .with_resource_type_filter(right.resource.0)
                .with_resource_name_filter(Some(text(&right.resource.1)))
                .with_pattern_type_filter(LITERAL)
                .with_principal_filter(Some(text(&right.principal)))
                .with_host_filter(Some(text("*")))
                .with_operation(right.operation)
                .with_permission_type(ALLOW)
        };
        let request = DeleteAclsRequest::default().with_filters(rights.iter().map(filter).collect());
        let answer = self.connection()?.call(DELETE_ACLS_VERSION, &request)?;
        all_well("taking rights away", answer.filter_results.iter().map(|result| result.error_code))
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
