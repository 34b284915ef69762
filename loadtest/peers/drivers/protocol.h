// The driver's half of the protocol in ../doc.go: reads commands on stdin, times the engine, answers on stdout.
// A driver derives from peers::Engine and calls peers::serve from main; hnswlib.cpp is the shortest example.
#pragma once

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
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

  std::string text(const std::string& key) {
    const auto it = words_.find(key);
    if (it == words_.end()) throw std::runtime_error(verb + " without " + key);
    std::string value = it->second;
    words_.erase(it);
    return value;
  }

  size_t number(const std::string& key) { return std::stoull(text(key)); }

  void finish() const {
    if (!words_.empty()) throw std::runtime_error(verb + ": unknown word " + words_.begin()->first);
  }

 private:
  std::map<std::string, std::string> words_;
};

// Floats maps the values of a .npy file of float32 in C order, format 1.0, for reading.
class Floats {
 public:
  Floats(const std::string& path, size_t values) {
    const int fd = open(path.c_str(), O_RDONLY);
    if (fd < 0) throw std::runtime_error("cannot open " + path);
    struct stat s;
    if (fstat(fd, &s) != 0) s.st_size = 0;
    bytes_ = static_cast<size_t>(s.st_size);
    map_ = bytes_ == 0 ? MAP_FAILED : mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (map_ == MAP_FAILED) throw std::runtime_error("cannot map " + path);
    const auto* file = static_cast<const unsigned char*>(map_);
    if (bytes_ > 10 && memcmp(file, "\x93NUMPY\x01", 7) == 0) header_ = 10 + file[8] + 256u * file[9];
    const std::string text(reinterpret_cast<const char*>(file), std::min(header_, bytes_));
    if (bytes_ != header_ + values * sizeof(float) || text.find("'<f4'") == std::string::npos || text.find("False") == std::string::npos) {
      munmap(map_, bytes_);
      throw std::runtime_error(path + " is not a .npy of as many float32 as rows and dim say");
    }
  }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  ~Floats() { munmap(map_, bytes_); }

  const float* data() const { return reinterpret_cast<const float*>(static_cast<const char*>(map_) + header_); }

 private:
  size_t bytes_ = 0, header_ = 0;
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


class Engine {
 public:
  virtual ~Engine() = default;
  // build makes the index, once.
  virtual void build(const Build& b) = 0;
  // search answers n queries on the calling thread: row i of ids gets at most k rows of the base, the rest stays missing.
  virtual void search(const float* queries, size_t n, size_t k, size_t ef, uint32_t* ids) = 0;
  // distances returns those computed since the engine was made; negative if the library does not tell.
  virtual double distances() const { return -1; }
};

inline double now(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Times are the clocks of one stretch of work, in seconds: of the wall, and of the calling thread on a processor.
class Times {
 public:
  Times() : wall_(now(CLOCK_MONOTONIC)), thread_(now(CLOCK_THREAD_CPUTIME_ID)) {}

  std::string json() const {
    const double thread = now(CLOCK_THREAD_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
    char buffer[100];
    snprintf(buffer, sizeof buffer, "\"wall_seconds\":%.9f,\"cpu_seconds\":%.9f", wall - wall_, thread - thread_);
    return buffer;
  }

 private:
  double wall_, thread_;
};

// anonymous returns the bytes this process holds that no file backs.
inline double anonymous() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("RssAnon:", 0) == 0) return 1024 * std::stod(line.substr(8));
  }
  throw std::runtime_error("/proc/self/status has no RssAnon");
}

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
  c.finish();
  malloc_trim(0);
  const double before = anonymous();
  const Times times;
  engine.build(b);
  const std::string json = times.json();
  malloc_trim(0);  // so that the process holds the index and not what building it took
  return json + ",\"bytes\":" + std::to_string(anonymous() - before);
}

inline std::string run_search(Engine& engine, Command& c, size_t dim) {
  const size_t rows = c.number("rows"), k = c.number("k"), ef = c.number("ef"), passes = c.number("passes");
  const Floats queries(c.text("queries"), rows * dim);
  std::vector<uint32_t> ids(rows * k, missing);
  const std::string out = c.text("out");
  c.finish();
  const double before = engine.distances();
  const Times times;
  for (size_t pass = 0; pass < passes; pass++) engine.search(queries.data(), rows, k, ef, ids.data());
  std::string json = times.json();
  const double after = engine.distances();
  const double n = static_cast<double>(rows * passes);
  json += ",\"queries\":" + std::to_string(rows * passes);
  if (before >= 0) json += ",\"distances_per_query\":" + std::to_string((after - before) / n);
  std::ofstream file(out, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(ids.data()), static_cast<std::streamsize>(ids.size() * sizeof(uint32_t)));
  if (!file.flush()) throw std::runtime_error("cannot write " + out);
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
