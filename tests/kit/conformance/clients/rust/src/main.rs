//! The scenario of README.md with google-cloud-pubsub.
//!
//! The crate does not look at PUBSUB_EMULATOR_HOST, so its clients are told the endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{DeadLetterPolicy, Message, Subscription};
use google_cloud_pubsub::subscriber::{MessageStream, handler::Handler};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(30);

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Scenario {
    endpoint: String,
    project: String,
    suffix: String,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
    subscriber: Subscriber,
}

fn anyone() -> Credentials {
    anonymous::Builder::new().build()
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.data).into_owned()
}

/// The next message, within the timeout.
async fn next(stream: &mut MessageStream) -> Outcome<(Message, Handler)> {
    let received = tokio::time::timeout(TIMEOUT, stream.next()).await?;
    Ok(received.ok_or("the stream ended")??)
}

impl Scenario {
    async fn new(suffix: String) -> Outcome<Self> {
        let endpoint = format!("http://{}", std::env::var("PUBSUB_EMULATOR_HOST")?);
        Ok(Self {
            project: std::env::var("GOOGLE_CLOUD_PROJECT")?,
            suffix,
            topics: TopicAdmin::builder()
                .with_endpoint(&endpoint)
                .with_credentials(anyone())
                .build()
                .await?,
            subscriptions: SubscriptionAdmin::builder()
                .with_endpoint(&endpoint)
                .with_credentials(anyone())
                .build()
                .await?,
            subscriber: Subscriber::builder()
                .with_endpoint(&endpoint)
                .with_credentials(anyone())
                .build()
                .await?,
            endpoint,
        })
    }

    async fn topic(&self, name: &str) -> Outcome<String> {
        let path = format!(
            "projects/{}/topics/rust-{name}-{}",
            self.project, self.suffix
        );
        self.topics.create_topic().set_name(&path).send().await?;
        Ok(path)
    }

    async fn subscription(
        &self,
        name: &str,
        topic: &str,
        settings: Subscription,
    ) -> Outcome<String> {
        let path = format!(
            "projects/{}/subscriptions/rust-{name}-{}",
            self.project, self.suffix
        );
        let request = settings.set_name(&path).set_topic(topic);
        self.subscriptions
            .create_subscription()
            .with_request(request)
            .send()
            .await?;
        Ok(path)
    }

    async fn publisher(&self, topic: &str) -> Outcome<Publisher> {
        let builder = Publisher::builder(topic)
            .with_endpoint(&self.endpoint)
            .with_credentials(anyone());
        Ok(builder.build().await?)
    }

    fn stream(&self, subscription: &str) -> MessageStream {
        self.subscriber.subscribe(subscription).build()
    }

    async fn plain(&self) -> Outcome<(Value, bool)> {
        let topic = self.topic("plain").await?;
        let path = self
            .subscription("plain", &topic, Subscription::new())
            .await?;
        let publisher = self.publisher(&topic).await?;
        let mut published = BTreeSet::new();
        let pending: Vec<_> = (0..20)
            .map(|n| {
                Message::new()
                    .set_data(format!("message-{n}"))
                    .set_attributes([("n", n.to_string())])
            })
            .map(|message| publisher.publish(message))
            .collect();
        for id in pending {
            published.insert(id.await?);
        }
        let mut received = BTreeMap::new();
        let mut stream = self.stream(&path);
        while received.len() < 20 {
            let (message, handler) = next(&mut stream).await?;
            handler.ack();
            received.insert(
                message.message_id.clone(),
                (text(&message), message.attributes["n"].clone()),
            );
        }
        let same = received.keys().eq(published.iter());
        let pairs: BTreeSet<_> = received.into_values().collect();
        Ok((json!(pairs), same))
    }

    async fn ordered(&self) -> Outcome<Value> {
        let topic = self.topic("ordered").await?;
        let settings = Subscription::new().set_enable_message_ordering(true);
        let path = self.subscription("ordered", &topic, settings).await?;
        let publisher = self.publisher(&topic).await?;
        for n in 0..10 {
            for key in ["a", "b"] {
                drop(
                    publisher.publish(
                        Message::new()
                            .set_data(format!("{key}-{n}"))
                            .set_ordering_key(key),
                    ),
                );
            }
        }
        publisher.flush().await;
        let mut received: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut stream = self.stream(&path);
        for _ in 0..20 {
            let (message, handler) = next(&mut stream).await?;
            handler.ack();
            received
                .entry(message.ordering_key.clone())
                .or_default()
                .push(text(&message));
        }
        Ok(json!(received))
    }

    async fn nacked(&self) -> Outcome<Value> {
        let topic = self.topic("nacked").await?;
        let path = self
            .subscription("nacked", &topic, Subscription::new())
            .await?;
        self.publisher(&topic)
            .await?
            .publish(Message::new().set_data("again"))
            .await?;
        let mut stream = self.stream(&path);
        let (first, handler) = next(&mut stream).await?;
        handler.nack();
        let (second, handler) = next(&mut stream).await?;
        handler.ack();
        Ok(json!({"deliveries": 2, "same_id": first.message_id == second.message_id}))
    }

    async fn dead_letter(&self) -> Outcome<Value> {
        let dead_topic = self.topic("dead").await?;
        let dead_path = self
            .subscription("dead", &dead_topic, Subscription::new())
            .await?;
        let topic = self.topic("poison").await?;
        let policy = DeadLetterPolicy::new()
            .set_dead_letter_topic(&dead_topic)
            .set_max_delivery_attempts(5);
        let path = self
            .subscription(
                "poison",
                &topic,
                Subscription::new().set_dead_letter_policy(policy),
            )
            .await?;
        let poison = Message::new()
            .set_data("poison")
            .set_attributes([("kind", "bad")]);
        self.publisher(&topic).await?.publish(poison).await?;
        let mut attempts = Vec::new();
        let mut stream = self.stream(&path);
        while attempts.len() < 5 {
            let (_, handler) = next(&mut stream).await?;
            attempts.push(handler.delivery_attempt());
            handler.nack();
        }
        // The stream stays open until the dead letter is there: the last nack is sent by it.
        let (dead, handler) = next(&mut self.stream(&dead_path)).await?;
        handler.ack();
        Ok(json!({"attempts": attempts, "data": text(&dead), "attributes": dead.attributes}))
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let scenario = Scenario::new(std::env::args().nth(1).ok_or("the suffix is missing")?).await?;
    let (received, ids_match) = scenario.plain().await?;
    let report = json!({
        "received": received,
        "ids_match": ids_match,
        "ordered": scenario.ordered().await?,
        "nacked": scenario.nacked().await?,
        "dead_letter": scenario.dead_letter().await?,
    });
    println!("{report}");
    Ok(())
}
