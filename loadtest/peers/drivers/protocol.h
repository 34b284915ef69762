// The driver's half of the protocol in ../doc.go: reads commands on stdin, times the engine, answers on stdout.
// A driver derives from peers::Engine and calls peers::serve from main; hnswlib.cpp is the shortest example.
#pragma once

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace peers {

// Missing marks the places of a result row that the search left empty.
constexpr uint32_t missing = 0xFFFFFFFF;

// Unsupported says that the engine cannot do what the command asks, which is no failure of the run.
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Command is a verb and its key=value words. Every word must be taken, so that a misspelt one is an error.
class Command {
 public:
  explicit Command(const std::string& line) {
    std::istringstream in(line);
    in >> verb;
    for (std::string word; in >> word;) {
      const auto eq = word.find('=');
      if (eq == std::string::npos) throw std::runtime_error("word without a value: " + word);
      words_[word.substr(0, eq)] = word.substr(eq + 1);
    }
  }

  std::string verb;

  bool has(const std::string& key) const { return words_.count(key) != 0; }

  std::string text(const std::string& key) {
    const auto it = words_.find(key);
    if (it == words_.end()) throw std::runtime_error(verb + " without " + key);
    std::string value = it->second;
    words_.erase(it);
    return value;
  }

  size_t number(const std::string& key) { return std::stoull(text(key)); }
  size_t number(const std::string& key, size_t otherwise) { return has(key) ? number(key) : otherwise; }

  void finish() const {
    if (!words_.empty()) throw std::runtime_error(verb + ": unknown word " + words_.begin()->first);
  }

 private:
  std::map<std::string, std::string> words_;
};

// Floats maps a file of rows x dim little-endian float32, row after row, for reading.
class Floats {
 public:
  Floats(const std::string& path, size_t values) : bytes_(values * sizeof(float)) {
    const int fd = open(path.c_str(), O_RDONLY);
    if (fd < 0) throw std::runtime_error("cannot open " + path);
    struct stat s;
    if (fstat(fd, &s) != 0 || static_cast<size_t>(s.st_size) != bytes_) {
      close(fd);
      throw std::runtime_error(path + " has not the size that rows and dim say");
    }
    map_ = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (map_ == MAP_FAILED) throw std::runtime_error("cannot map " + path);
  }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  ~Floats() { munmap(map_, bytes_); }

  const float* data() const { return static_cast<const float*>(map_); }

 private:
  size_t bytes_;
  void* map_;
};

// Build is what an index is built from. Rows are gone when build returns; an engine copies what it needs.
struct Build {
  const float* base;
  size_t rows, dim;
  bool inner_product;  // else squared Euclidean; cosine comes as unit vectors and may be either
  bool cosine;
  size_t m, ef_construction, threads, seed;
};

// Work counts since the engine was made; negative if the engine cannot tell.
struct Work {
  double distances = -1, hops = -1;
};

class Engine {
 public:
  virtual ~Engine() = default;
  // build replaces the index, if there is one. It takes the further words it knows from c.
  virtual void build(const Build& b, Command& c) = 0;
  // search answers n queries on the calling thread: row i of ids gets at most k rows of the base, the rest stays missing.
  virtual void search(const float* queries, size_t n, size_t k, size_t ef, uint32_t* ids) = 0;
  virtual Work work() const { return {}; }
};

inline double now(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Times are the three clocks of one stretch of work, in seconds.
class Times {
 public:
  Times() : wall_(now(CLOCK_MONOTONIC)), thread_(now(CLOCK_THREAD_CPUTIME_ID)), process_(now(CLOCK_PROCESS_CPUTIME_ID)) {}

  std::string json() const {
    const double thread = now(CLOCK_THREAD_CPUTIME_ID), process = now(CLOCK_PROCESS_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
    char buffer[160];
    snprintf(buffer, sizeof buffer, "\"wall_seconds\":%.9f,\"thread_cpu_seconds\":%.9f,\"process_cpu_seconds\":%.9f",
             wall - wall_, thread - thread_, process - process_);
    return buffer;
  }

 private:
  double wall_, thread_, process_;
};

inline std::string quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out + "\"";
}

inline std::string run_build(Engine& engine, Command& c, size_t& dim) {
  const size_t rows = c.number("rows");
  dim = c.number("dim");
  const std::string metric = c.text("metric");
  if (metric != "l2" && metric != "ip" && metric != "cosine") throw Unsupported("metric " + metric);
  const Floats base(c.text("base"), rows * dim);
  const Build b{base.data(),   rows,
                dim,           metric == "ip",
                metric == "cosine", c.number("m"),
                c.number("ef_construction"), c.number("threads"),
                c.number("seed")};
  const Times times;
  engine.build(b, c);
  const std::string json = times.json();
  c.finish();
  malloc_trim(0);  // so that the process holds the index and not what building it took
  return json;
}

inline std::string run_search(Engine& engine, Command& c, size_t dim) {
  const size_t rows = c.number("rows"), k = c.number("k"), ef = c.number("ef"), passes = c.number("passes", 1);
  const Floats queries(c.text("queries"), rows * dim);
  std::vector<uint32_t> ids(rows * k, missing);
  const std::string out = c.has("out") ? c.text("out") : "";
  c.finish();
  const Work before = engine.work();
  const Times times;
  for (size_t pass = 0; pass < passes; pass++) engine.search(queries.data(), rows, k, ef, ids.data());
  std::string json = times.json();
  const Work after = engine.work();
  const double n = static_cast<double>(rows * passes);
  json += ",\"queries\":" + std::to_string(rows * passes);
  if (before.distances >= 0) json += ",\"distances_per_query\":" + std::to_string((after.distances - before.distances) / n);
  if (before.hops >= 0) json += ",\"hops_per_query\":" + std::to_string((after.hops - before.hops) / n);
  if (!out.empty()) {
    std::ofstream file(out, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(ids.data()), static_cast<std::streamsize>(ids.size() * sizeof(uint32_t)));
    if (!file.flush()) throw std::runtime_error("cannot write " + out);
  }
  return json;
}

// serve answers commands until quit or the end of stdin. Whatever a library prints on stdout goes to stderr.
inline int serve(Engine& engine, const std::string& name, const std::string& version, const std::string& note) {
  const int fd = dup(1);
  FILE* out = fd < 0 ? nullptr : fdopen(fd, "w");
  if (out == nullptr || dup2(2, 1) < 0) return 1;
  const auto reply = [out](const std::string& json) {
    fprintf(out, "{%s}\n", json.c_str());
    return fflush(out) == 0;
  };
  if (!reply("\"engine\":" + quote(name) + ",\"version\":" + quote(version) + ",\"note\":" + quote(note))) return 1;
  size_t dim = 0;
  for (std::string line; std::getline(std::cin, line);) {
    std::string json;
    try {
      Command c(line);
      if (c.verb == "quit") return 0;
      if (c.verb == "build") {
        json = run_build(engine, c, dim);
      } else if (c.verb == "search") {
        json = run_search(engine, c, dim);
      } else {
        throw std::runtime_error("unknown command " + c.verb);
      }
    } catch (const Unsupported& e) {
      json = "\"unsupported\":true,\"error\":" + quote(e.what());
    } catch (const std::exception& e) {
      json = "\"error\":" + quote(e.what());
    }
    if (!reply(json)) return 1;
  }
  return 0;
}

}  // namespace peers
