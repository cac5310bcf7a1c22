import com.google.api.core.ApiFuture;
import com.google.api.gax.core.NoCredentialsProvider;
import com.google.api.gax.grpc.GrpcTransportChannel;
import com.google.api.gax.rpc.FixedTransportChannelProvider;
import com.google.api.gax.rpc.TransportChannelProvider;
import com.google.cloud.pubsub.v1.AckReplyConsumer;
import com.google.cloud.pubsub.v1.Publisher;
import com.google.cloud.pubsub.v1.Subscriber;
import com.google.cloud.pubsub.v1.SubscriptionAdminClient;
import com.google.cloud.pubsub.v1.SubscriptionAdminSettings;
import com.google.cloud.pubsub.v1.TopicAdminClient;
import com.google.cloud.pubsub.v1.TopicAdminSettings;
import com.google.gson.Gson;
import com.google.protobuf.ByteString;
import com.google.pubsub.v1.DeadLetterPolicy;
import com.google.pubsub.v1.PubsubMessage;
import com.google.pubsub.v1.Subscription;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** The scenario of README.md with google-cloud-pubsub for Java, which has to be given the emulator's channel by hand. */
public final class Client {
  private static final long TIMEOUT_S = 30;

  private final String project = System.getenv("GOOGLE_CLOUD_PROJECT");
  private final String suffix;
  private final TransportChannelProvider channel;
  private final TopicAdminClient topics;
  private final SubscriptionAdminClient subscriptions;

  private Client(String suffix, ManagedChannel channel) throws Exception {
    this.suffix = suffix;
    this.channel = FixedTransportChannelProvider.create(GrpcTransportChannel.create(channel));
    this.topics =
        TopicAdminClient.create(
            TopicAdminSettings.newBuilder()
                .setTransportChannelProvider(this.channel)
                .setCredentialsProvider(NoCredentialsProvider.create())
                .build());
    this.subscriptions =
        SubscriptionAdminClient.create(
            SubscriptionAdminSettings.newBuilder()
                .setTransportChannelProvider(this.channel)
                .setCredentialsProvider(NoCredentialsProvider.create())
                .build());
  }

  private String topic(String name) {
    String path = String.format("projects/%s/topics/java-%s-%s", project, name, suffix);
    topics.createTopic(path);
    return path;
  }

  private String subscription(String name, String topic, Subscription.Builder settings) {
    String path = String.format("projects/%s/subscriptions/java-%s-%s", project, name, suffix);
    subscriptions.createSubscription(settings.setName(path).setTopic(topic).build());
    return path;
  }

  private Publisher publisher(String topic, boolean ordering) throws Exception {
    return Publisher.newBuilder(topic)
        .setChannelProvider(channel)
        .setCredentialsProvider(NoCredentialsProvider.create())
        .setEnableMessageOrdering(ordering)
        .build();
  }

  private static PubsubMessage.Builder message(String data) {
    return PubsubMessage.newBuilder().setData(ByteString.copyFromUtf8(data));
  }

  private interface Handler {
    /** Acks or nacks; true once there is nothing more to wait for. */
    boolean handle(PubsubMessage message, AckReplyConsumer reply);
  }

  /** Starts to hand messages to the handler, one at a time. */
  private Subscriber open(String path, CountDownLatch done, Handler handler) {
    Object lock = new Object();
    Subscriber subscriber =
        Subscriber.newBuilder(
                path,
                (PubsubMessage message, AckReplyConsumer reply) -> {
                  synchronized (lock) {
                    if (handler.handle(message, reply)) {
                      done.countDown();
                    }
                  }
                })
            .setChannelProvider(channel)
            .setCredentialsProvider(NoCredentialsProvider.create())
            .setParallelPullCount(2)
            .build();
    subscriber.startAsync().awaitRunning();
    return subscriber;
  }

  /** Receives until the handler has returned true once. */
  private void receive(String path, Handler handler) throws Exception {
    CountDownLatch done = new CountDownLatch(1);
    Subscriber subscriber = open(path, done, handler);
    try {
      if (!done.await(TIMEOUT_S, TimeUnit.SECONDS)) {
        throw new IllegalStateException(path + ": not all messages came within " + TIMEOUT_S + " s");
      }
    } finally {
      subscriber.stopAsync().awaitTerminated();
    }
  }

  private void plain(Map<String, Object> report) throws Exception {
    String topic = topic("plain");
    String path = subscription("plain", topic, Subscription.newBuilder());
    Publisher publisher = publisher(topic, false);
    List<ApiFuture<String>> sent = new ArrayList<>();
    for (int n = 0; n < 20; n++) {
      sent.add(publisher.publish(message("message-" + n).putAttributes("n", "" + n).build()));
    }
    Set<String> published = new HashSet<>();
    for (ApiFuture<String> future : sent) {
      published.add(future.get(TIMEOUT_S, TimeUnit.SECONDS));
    }
    Map<String, List<String>> received = new HashMap<>();
    Set<String> ids = new HashSet<>();
    receive(
        path,
        (message, reply) -> {
          reply.ack();
          ids.add(message.getMessageId());
          String data = message.getData().toStringUtf8();
          received.put(data, List.of(data, message.getAttributesOrThrow("n")));
          return ids.size() == 20;
        });
    publisher.shutdown();
    report.put("received", new TreeMap<>(received).values());
    report.put("ids_match", ids.equals(published));
  }

  private void ordered(Map<String, Object> report) throws Exception {
    String topic = topic("ordered");
    String path = subscription("ordered", topic, Subscription.newBuilder().setEnableMessageOrdering(true));
    Publisher publisher = publisher(topic, true);
    for (int n = 0; n < 10; n++) {
      for (String key : List.of("a", "b")) {
        publisher.publish(message(key + "-" + n).setOrderingKey(key).build());
      }
    }
    publisher.publishAllOutstanding();
    Map<String, List<String>> received = new TreeMap<>();
    int[] count = {0};
    receive(
        path,
        (message, reply) -> {
          reply.ack();
          received
              .computeIfAbsent(message.getOrderingKey(), key -> new ArrayList<>())
              .add(message.getData().toStringUtf8());
          return ++count[0] == 20;
        });
    publisher.shutdown();
    report.put("ordered", received);
  }

  private void publishOne(String topic, PubsubMessage message) throws Exception {
    Publisher publisher = publisher(topic, false);
    publisher.publish(message).get(TIMEOUT_S, TimeUnit.SECONDS);
    publisher.shutdown();
  }

  private void nacked(Map<String, Object> report) throws Exception {
    String topic = topic("nacked");
    String path = subscription("nacked", topic, Subscription.newBuilder());
    publishOne(topic, message("again").build());
    List<String> ids = new ArrayList<>();
    receive(
        path,
        (message, reply) -> {
          ids.add(message.getMessageId());
          if (ids.size() == 1) {
            reply.nack();
            return false;
          }
          reply.ack();
          return true;
        });
    report.put("nacked", Map.of("deliveries", ids.size(), "same_id", new HashSet<>(ids).size() == 1));
  }

  private void deadLetter(Map<String, Object> report) throws Exception {
    String deadTopic = topic("dead");
    String deadPath = subscription("dead", deadTopic, Subscription.newBuilder());
    String topic = topic("poison");
    DeadLetterPolicy policy =
        DeadLetterPolicy.newBuilder().setDeadLetterTopic(deadTopic).setMaxDeliveryAttempts(5).build();
    String path = subscription("poison", topic, Subscription.newBuilder().setDeadLetterPolicy(policy));
    publishOne(topic, message("poison").putAttributes("kind", "bad").build());
    List<Integer> attempts = new ArrayList<>();
    // Open until the dead letter is there: some clients drop a nack that is given just before they stop.
    Subscriber refusing =
        open(
            path,
            new CountDownLatch(1),
            (message, reply) -> {
              attempts.add(Subscriber.getDeliveryAttempt(message));
              reply.nack();
              return false;
            });
    Map<String, Object> seen = new LinkedHashMap<>();
    seen.put("attempts", attempts);
    receive(
        deadPath,
        (message, reply) -> {
          seen.put("data", message.getData().toStringUtf8());
          seen.put("attributes", new TreeMap<>(message.getAttributesMap()));
          reply.ack();
          return true;
        });
    refusing.stopAsync().awaitTerminated();
    report.put("dead_letter", seen);
  }

  public static void main(String[] args) throws Exception {
    ManagedChannel channel =
        ManagedChannelBuilder.forTarget(System.getenv("PUBSUB_EMULATOR_HOST")).usePlaintext().build();
    Client client = new Client(args[0], channel);
    Map<String, Object> report = new LinkedHashMap<>();
    client.plain(report);
    client.ordered(report);
    client.nacked(report);
    client.deadLetter(report);
    System.out.println(new Gson().toJson(report));
    channel.shutdownNow();
    System.exit(0); // The client's own pools would keep the process for a while.
  }
}
