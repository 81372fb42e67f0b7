#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// Orrery's promise to other programs: load a world model, see, plan. Nothing here depends on
// third-party headers. Errors are exceptions derived from std::runtime_error with one sentence that
// says what came, what was needed and where.

namespace orrery {

// Version of the library, major.minor.patch.
const char* version();

// Pixels that the caller owns: height rows from the top, width pixels each, red, green, blue.
struct Picture {
  const std::uint8_t* rgb = nullptr;
  int height = 0;
  int width = 0;
};

// Of planners that descend (gradient, pgd, lagrangian); their steps are PlanOptions::iterations.
// They work on the CPU.
struct DescentOptions {
  // sgd, adam or adamw; empty: adamw for gradient, adam for lagrangian. pgd has sgd only
  std::string optimizer;
  double lr = 0;             // 0: 0.1, for pgd 1
  double weight_decay = -1;  // below 0: 0.01 for adamw, else 0
  double sgd_momentum = 0;
  double grad_clip = 0;     // longest gradient of all candidates together; 0: any
  double action_noise = 0;  // std of what is added after every step
  // which candidate is the answer: best (of all that was ever evaluated), final-cost or
  // last-step-cost, as releases of stable-worldmodel have it; empty: best, or as `upstream` says
  std::string answer;

  // lagrangian: rounds of `iterations` steps, and the weight of squared violations
  int rounds = 5;
  double rho = 1;
  double rho_max = 1e4;
  double rho_scale = 2;             // from round to round
  bool persist_multipliers = true;  // from plan to plan
  // Limits that a plan keeps to, of z-scored actions; 0: none. Mean square of all action numbers,
  // size of any, squared distance of the last imagined latent from the goal's.
  double max_action_energy = 0;
  double max_action = 0;
  double max_goal_distance = 0;

  bool operator==(const DescentOptions&) const = default;
};

// How actions are searched for; the defaults are the published evaluation's.
struct PlanOptions {
  // cem, icem, mppi, predictive-sampling, categorical-cem, gradient, pgd or lagrangian
  std::string planner = "cem";
  int samples = 300;
  int elites = 30;
  int iterations = 30;
  int horizon = 5;         // blocks
  double initial_std = 1;  // of the z-scored candidates
  std::uint64_t seed = 42;
  // Milliseconds that the search may take (pictures are encoded before); 0: no limit. It ends with
  // the best plan it has before the iteration that would go beyond; one is always made.
  double budget_ms = 0;

  // Behave as a release of stable-worldmodel where it differs, with costs that are no numbers, the
  // elites' spread, limits: 0.1.1, or later (2026-08-25 and after). Empty: as this project does.
  std::string upstream;

  // What plans cost: the squared distance of what the actions are imagined to lead to from the
  // goal, summed (sum) or averaged (mean) over the latent's numbers, and control_penalty times the
  // sum of the squares of all (z-scored) action numbers.
  // A cost of "distance-head" takes instead what the model's learned distance head says of the time
  // to the goal (`orrery distance`), and latent_weight times the squared distance. On the CPU.
  std::string cost = "latent";
  double latent_weight = 0;
  std::string goal_reduction = "sum";
  double control_penalty = 0;

  bool trace = false;  // tell how the plan was found, see PlannedActions

  // cem and icem
  bool population_std = false;  // spread of elites divided by their number: later releases
  double min_std = 0;           // the spread is not smaller
  double enough_std = 0;        // end early when the spread is no more; 0: never

  // icem
  double noise_beta = 2;  // noise has a power spectrum of f^-beta over the horizon
  // share of mean and spread that an iteration keeps, also of categorical-cem; below 0: as the
  // planner has it, 0.1 for icem and 0 for categorical-cem
  double momentum = -1;
  int keep = 5;              // elites that come back as candidates
  bool return_best = false;  // the best elite with its own cost is the answer, not the mean

  // mppi
  double temperature = 0.5;  // in units of cost

  // categorical-cem, and pgd for the categories
  int categories = 0;    // actions to choose from; the model takes one number for each
  double smoothing = 0;  // added to the frequency of each among the elites

  // Limit of every action number, plus and minus, in the environment's units when the model has
  // statistics; infinity: none; 0: as the planner has it, 1 for icem and none for the others.
  double action_limit = 0;
  // The limit is of z-scored numbers, as the released iCEM takes it.
  bool limit_is_z_scored = false;

  DescentOptions descent;

  bool operator==(const PlanOptions&) const = default;
};

// What to reach: what a picture shows, a latent of facts().latent_size numbers, or what a model of
// vectors would observe there.
struct Goal {
  Picture picture;
  std::vector<float> latent;       // taken when it is not empty
  std::vector<float> observation;  // else this
};

// Numbers that tell how a plan was found, one for each iteration.
struct TraceValues {
  std::string name;  // best_cost, mean_cost, elite_mean, ...
  std::vector<double> values;
};

struct PlannedActions {
  // [steps][action numbers], in the environment's units when the model has statistics, else
  // z-scored
  std::vector<std::vector<float>> actions;
  double cost = 0;     // mean cost of the last elites, or see return_best
  double plan_ms = 0;  // pictures encoded (a goal that stays, once) and the plan found
  // Of several goals: the cost of each one's share of the actions, which `cost` is the sum of.
  std::vector<double> goal_costs;
  // One for each goal, when PlanOptions::trace asks for it.
  std::vector<std::vector<TraceValues>> traces;
  // categorical-cem and pgd: the category of every choice, [steps]
  std::vector<int> categories;
};

// Where a model works, and how exactly.
struct ModelOptions {
  int threads = 0;  // 0: one per core
  // cpu, cuda, cuda:N, or auto: the first CUDA device that can be used, else the CPU
  std::string device = "cpu";
  // f32; on CUDA devices also tf32, bf16, int8 and fp8
  std::string precision = "f32";
};

struct ModelFacts {
  long long parameters = 0;
  int image_size = 0;
  int patch_size = 0;
  int latent_size = 0;
  int action_size = 0;  // numbers of one block
  int window = 0;       // frames the predictor looks at
  // of a model that sees vectors: how many numbers, and the column of recordings with them. Its
  // image_size is 0.
  int observation_size = 0;
  std::string observation;
  bool has_statistics = false;
  int frameskip = 0;        // environment steps a block; 0 without statistics
  int raw_action_size = 0;  // numbers of one environment step; 0 without statistics
  std::string device;       // cpu, cuda:0
  std::string precision;
};

// A loaded model with its working memory. One thread uses it at a time.
class WorldModel {
 public:
  // path: a folder with config.json and weights (.safetensors, .pt, .pth, .ckpt), or a file of
  // weights beside config.json. threads: 0 for one per core.
  explicit WorldModel(const std::string& path, int threads = 0);
  WorldModel(const std::string& path, const ModelOptions& options);
  ~WorldModel();
  WorldModel(WorldModel&&) noexcept;
  WorldModel& operator=(WorldModel&&) noexcept;

  const ModelFacts& facts() const;

  // The latent of a picture, facts().latent_size numbers.
  std::vector<float> encode(const Picture& picture);
  // The same of an observation of facts().observation_size numbers, as recorded.
  std::vector<float> encode(const std::vector<float>& observation);

  // Actions that are expected to lead from what `now` shows to what `goal` shows.
  PlannedActions plan(const Picture& now, const Picture& goal, const PlanOptions& options = {});

  // Through several goals in their order: a plan of options.horizon blocks for each, the first from
  // what `now` shows, every other from where the one before is imagined to lead.
  PlannedActions plan(const Picture& now, const std::vector<Goal>& goals,
                      const PlanOptions& options = {});
  // The same of a model that sees vectors.
  PlannedActions plan(const std::vector<float>& now, const std::vector<Goal>& goals,
                      const PlanOptions& options = {});

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace orrery
