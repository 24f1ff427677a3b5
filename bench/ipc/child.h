// Child: a process that a bench forks before it has threads. An order in, an answer out.
#pragma once

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

namespace kvpool::bench {

// Answer: bytes. The child ends with this; what fails in it ends the bench. Threads: one.
template <class Answer>
class Child {
 public:
  // `orders`: where the next one comes.
  using Life = std::function<Answer(char order, int orders)>;

  // Forks. `begin` is called with the first order, in the child.
  explicit Child(const std::function<Life()>& begin) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) std::abort();
    if (fork() == 0) {
      close(pair[0]);
      Live(pair[1], begin);
    }
    close(pair[1]);
    orders_ = pair[0];
  }
  ~Child() {
    close(orders_);
    wait(nullptr);
  }
  void Order(char order) const {
    if (write(orders_, &order, 1) != 1) std::abort();
  }
  Answer Wait() const {
    Answer answer;
    if (read(orders_, &answer, sizeof answer) != sizeof answer) std::exit(1);
    return answer;
  }
  Answer Ask(char order) const {
    Order(order);
    return Wait();
  }

 private:
  [[noreturn]] static void Live(int orders, const std::function<Life()>& begin) {
    Life life;
    for (char order = 0; read(orders, &order, 1) == 1;) {
      if (!life) life = begin();
      const Answer answer = life(order, orders);
      if (write(orders, &answer, sizeof answer) != sizeof answer) _exit(1);
    }
    _exit(0);
  }
  int orders_ = -1;
};

}  // namespace kvpool::bench
