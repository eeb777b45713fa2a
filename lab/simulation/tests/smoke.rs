use flux_lab::crowd::{Order, Outcome};
use flux_simulation::crowd::{Buyer, Crowd, buy};
use flux_simulation::kafka::{HOST, Kafka};
use flux_simulation::random::Random;
use flux_simulation::redis::Redis;
use flux_simulation::world::World;
use flux_simulation::{edge, operator};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn smoke() {
    let began = Instant::now();
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let redis = Rc::new(RefCell::new(Redis::new(6379, random.fork())));
        let kafka = Rc::new(RefCell::new(Kafka::new(3, "orders", 4, random.fork())));
        let mut world = World::new(random.fork(), 1_705_234_700_000);
        world.add_peer("redis", Rc::<RefCell<Redis>>::clone(&redis));
        world.add_peer(HOST, Rc::<RefCell<Kafka>>::clone(&kafka));
        let _a = edge::start(&mut world, "edge-0", 2, &["--rate=0".into()]);
        let _b = edge::start(&mut world, "edge-1", 1, &["--rate=0".into()]);
        world.run_for(Duration::from_secs(1));
        let opened = operator::post(&mut world, "edge-0", "/init", r#"{"productId":"p","quantity":30}"#);
        assert_eq!(opened.clone().map(|o| o.0), Some(200), "{opened:?}");
        let doors = vec![("edge-0".into(), 3000), ("edge-0".into(), 3001), ("edge-1".into(), 3000)];
        let crowd = Crowd::new(doors);
        let all = Rc::clone(&crowd);
        let mut chance = random.fork();
        world.start("crowd", move || {
            (0..60)
                .map(|n| {
                    let order = Arc::new(Order::new("p", &format!("u{n}"), &format!("k{n}"), 1));
                    let buyer = Buyer {
                        order,
                        comes_after: Duration::from_millis(chance.below(500)),
                        attempts_max: 20,
                        hang_up_per_mille: 50,
                    };
                    let task: flux_net::simulated::Task = Box::pin(buy(Rc::clone(&all), buyer, chance.fork()));
                    task
                })
                .collect()
        });
        world.run_for(Duration::from_secs(20));
        assert_eq!(crowd.under_way.get(), 0);
        assert_eq!(redis.borrow().unknown(), [""; 0]);
        assert_eq!(kafka.borrow().unknown(), [""; 0]);
        let history = crowd.history.borrow();
        let ok = history.accepted().len();
        assert_eq!(
            (ok, redis.borrow().stock("p")),
            (30, Some(0)),
            "{:?}",
            history
                .exchanges
                .iter()
                .map(|e| e.outcome)
                .filter(|o| !matches!(o, Outcome::Accepted { .. }))
                .take(5)
                .collect::<Vec<_>>()
        );
        assert_eq!(redis.borrow().outbox("p").unwrap().len(), 0);
        if seed == 0 {
            println!("trace {:x} exchanges {}", world.trace(), history.exchanges.len());
        }
    }
    println!("20 runs in {:?}", began.elapsed());
}
