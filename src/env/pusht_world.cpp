#include "env/pusht_world.h"

#include <chipmunk/chipmunk.h>

#include <algorithm>
#include <cstdio>
#include <mutex>

#include "base/error.h"

namespace orrery::pusht {

namespace {

constexpr double kEngineStep = 0.01;
constexpr int kStepsPerControl = 10;
constexpr double kStiffness = 100;  // critically damped:
constexpr double kDamping = 20;     // 2 sqrt(100)
constexpr double kWallRadius = 2;
constexpr Point kWalls[4][2] = {
    {{5, 506}, {5, 5}}, {{5, 5}, {506, 5}}, {{506, 5}, {506, 506}}, {{5, 506}, {506, 506}}};

cpVect vect(const Point& p) { return {p.x, p.y}; }
Point point(const cpVect& v) { return {v.x, v.y}; }

std::array<cpVect, 4> vects(const std::array<Point, 4>& points) {
  return {vect(points[0]), vect(points[1]), vect(points[2]), vect(points[3])};
}

// Debian's engine greets on standard output when the first space of a process is made. A library
// does not print, so that one time the C library's stdout is something else; C++ streams are not
// touched.
void make_first_space() {
#ifdef __GLIBC__
  static std::once_flag done;
  std::call_once(done, [] {
    std::FILE* nowhere = std::fopen("/dev/null", "w");
    if (nowhere == nullptr) return;
    std::FILE* real = stdout;
    stdout = nowhere;
    cpSpaceFree(cpSpaceNew());
    stdout = real;
    std::fclose(nowhere);
  });
#endif
}

// the agent's velocity after one step of control
double pushed(double x, double v, double target) {
  const double acceleration = kStiffness * (target - x) + kDamping * (0 - v);
  return v + acceleration * kEngineStep;
}

// the same where every sum of a float32 target with a Python number is rounded
float pushed_f32(double x, double v, double target) {
  const float pull =
      static_cast<float>(kStiffness) * (static_cast<float>(target) - static_cast<float>(x));
  const float acceleration = pull + static_cast<float>(kDamping * (0 - v));
  return static_cast<float>(v) + acceleration * static_cast<float>(kEngineStep);
}

// whom a shape belongs to, kept in its user data
enum class Owner : std::uintptr_t { wall, agent, block };

void set_owner(cpShape* shape, Owner owner) {
  cpShapeSetUserData(shape, reinterpret_cast<cpDataPointer>(owner));
}
Owner owner_of(cpShape* shape) {
  return static_cast<Owner>(reinterpret_cast<std::uintptr_t>(cpShapeGetUserData(shape)));
}

}  // namespace

struct World::Impl {
  cpSpace* space = nullptr;
  cpBody* agent = nullptr;
  cpBody* block = nullptr;
  bool agent_is_circle = true;
  Control control = Control::float64;
  std::vector<cpShape*> shapes;
  std::vector<std::array<Point, 4>> block_parts;
  int contact_points = 0;

  Impl() {
    make_first_space();
    space = cpSpaceNew();
    cpSpaceSetDamping(space, 0);
  }

  ~Impl() {
    for (cpShape* shape : shapes) {
      cpSpaceRemoveShape(space, shape);
      cpShapeFree(shape);
    }
    for (cpBody* body : {agent, block}) {
      cpSpaceRemoveBody(space, body);
      cpBodyFree(body);
    }
    cpSpaceFree(space);
  }

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void add(cpShape* shape, Owner owner) {
    set_owner(shape, owner);
    cpSpaceAddShape(space, shape);
    shapes.push_back(shape);
  }

  cpBody* add_body(const BodyShape& shape, const Point& position, double angle, Owner owner) {
    if (shape.parts.empty()) {
      cpBody* body = cpBodyNewKinematic();
      cpBodySetPosition(body, vect(position));
      cpSpaceAddBody(space, body);
      add(cpCircleShapeNew(body, shape.radius, cpvzero), owner);
      return body;
    }

    double moment = 0;
    for (const int part : shape.moment_parts) {
      const auto vertices = vects(shape.parts[static_cast<std::size_t>(part)]);
      moment += cpMomentForPoly(1, static_cast<int>(vertices.size()), vertices.data(), cpvzero, 0);
    }
    cpBody* body = cpBodyNew(1, moment);
    std::vector<cpShape*> parts;
    Point centre;
    for (const auto& outline : shape.parts) {
      const auto vertices = vects(outline);
      cpShape* part = cpPolyShapeNew(body, static_cast<int>(vertices.size()), vertices.data(),
                                     cpTransformIdentity, 0);
      const cpVect centroid = cpShapeGetCenterOfGravity(part);
      centre = {centre.x + centroid.x, centre.y + centroid.y};
      parts.push_back(part);
    }
    const auto count = static_cast<double>(parts.size());
    cpBodySetCenterOfGravity(body, {centre.x / count, centre.y / count});
    cpBodySetPosition(body, vect(position));
    cpBodySetAngle(body, angle);
    cpSpaceAddBody(space, body);
    for (cpShape* part : parts) add(part, owner);
    return body;
  }

  void step() {
    cpSpaceStep(space, kEngineStep);
    // every contact is one of the block's, unless the agent is a dynamic body that touches a wall
    struct Count {
      int points = 0;
      cpBody* other_than = nullptr;
    };
    const auto add_points = [](cpBody* body, cpArbiter* arbiter, void* data) {
      auto* count = static_cast<Count*>(data);
      cpBody* a = nullptr;
      cpBody* b = nullptr;
      cpArbiterGetBodies(arbiter, &a, &b);
      if ((a == body ? b : a) != count->other_than) count->points += cpArbiterGetCount(arbiter);
    };
    Count count;
    cpBodyEachArbiter(block, add_points, &count);
    if (!agent_is_circle) {
      count.other_than = block;
      cpBodyEachArbiter(agent, add_points, &count);
    }
    contact_points += count.points;
  }

  void push(const Point& target) {
    const cpVect x = cpBodyGetPosition(agent);
    const cpVect v = cpBodyGetVelocity(agent);
    const double to_x = std::clamp(target.x, -kFarthest, kFarthest);
    const double to_y = std::clamp(target.y, -kFarthest, kFarthest);
    if (control == Control::float32) {
      cpBodySetVelocity(agent, {pushed_f32(x.x, v.x, to_x), pushed_f32(x.y, v.y, to_y)});
    } else {
      cpBodySetVelocity(agent, {pushed(x.x, v.x, to_x), pushed(x.y, v.y, to_y)});
    }
    step();
  }
};

World::World(const BodyShape& agent, double agent_angle, const BodyShape& block,
             const WorldState& start, Control control)
    : impl_(std::make_unique<Impl>()) {
  impl_->control = control;
  cpBody* ground = cpSpaceGetStaticBody(impl_->space);
  for (const auto& wall : kWalls) {
    impl_->add(cpSegmentShapeNew(ground, vect(wall[0]), vect(wall[1]), kWallRadius), Owner::wall);
  }
  impl_->agent_is_circle = agent.parts.empty();
  impl_->agent = impl_->add_body(agent, start.agent, agent_angle, Owner::agent);
  impl_->block = impl_->add_body(block, start.block, start.block_angle, Owner::block);

  // the engine keeps its shapes in a hash table, whose order is that of drawing
  const auto add_part = [](cpShape* shape, void* data) {
    if (owner_of(shape) != Owner::block) return;
    auto* parts = static_cast<std::vector<std::array<Point, 4>>*>(data);
    ORRERY_ASSERT(cpPolyShapeGetCount(shape) == 4);
    parts->emplace_back();
    for (int i = 0; i < 4; ++i) {
      parts->back()[static_cast<std::size_t>(i)] = point(cpPolyShapeGetVert(shape, i));
    }
  };
  cpSpaceEachShape(impl_->space, add_part, &impl_->block_parts);
}

World::~World() = default;
World::World(World&&) noexcept = default;
World& World::operator=(World&&) noexcept = default;

void World::set_state(const WorldState& state, PoseOrder order) {
  impl_->contact_points = 0;
  cpBodySetVelocity(impl_->agent, vect(state.agent_velocity));
  cpBodySetPosition(impl_->agent, vect(state.agent));
  if (order == PoseOrder::angle_first) {
    cpBodySetAngle(impl_->block, state.block_angle);
    cpBodySetPosition(impl_->block, vect(state.block));
  } else {
    cpBodySetPosition(impl_->block, vect(state.block));
    cpBodySetAngle(impl_->block, state.block_angle);
  }
  impl_->step();
}

void World::push(Point target) {
  impl_->contact_points = 0;
  impl_->push(target);
}

void World::drive(Point target) {
  impl_->contact_points = 0;
  for (int i = 0; i < kStepsPerControl; ++i) impl_->push(target);
}

WorldState World::state() const {
  return {.agent = point(cpBodyGetPosition(impl_->agent)),
          .agent_velocity = point(cpBodyGetVelocity(impl_->agent)),
          .block = point(cpBodyGetPosition(impl_->block)),
          .block_angle = cpBodyGetAngle(impl_->block)};
}

BlockMotion World::block_motion() const {
  return {.velocity = point(cpBodyGetVelocity(impl_->block)),
          .spin = cpBodyGetAngularVelocity(impl_->block)};
}

int World::contact_points() const { return impl_->contact_points; }

const std::vector<std::array<Point, 4>>& World::block_parts() const { return impl_->block_parts; }

void World::drawn(std::vector<DrawnShape>& shapes, std::vector<ContactMark>& marks) const {
  struct Collected {
    std::vector<DrawnShape>* shapes;
    std::vector<ContactMark>* marks;
    Owner owner = Owner::wall;
  };
  Collected collected{&shapes, &marks};
  shapes.clear();
  marks.clear();

  cpSpaceDebugDrawOptions options = {};
  options.data = &collected;
  options.flags = static_cast<cpSpaceDebugDrawFlags>(CP_SPACE_DEBUG_DRAW_SHAPES |
                                                     CP_SPACE_DEBUG_DRAW_COLLISION_POINTS);
  // asked for a shape just before that is drawn
  options.colorForShape = [](cpShape* shape, void* data) {
    static_cast<Collected*>(data)->owner = owner_of(shape);
    return cpSpaceDebugColor{};
  };
  options.drawCircle = [](cpVect centre, cpFloat, cpFloat radius, cpSpaceDebugColor,
                          cpSpaceDebugColor, void* data) {
    auto* into = static_cast<Collected*>(data);
    into->shapes->push_back(
        {.agent = into->owner == Owner::agent, .centre = point(centre), .radius = radius});
  };
  options.drawPolygon = [](int, const cpVect* vertices, cpFloat, cpSpaceDebugColor,
                           cpSpaceDebugColor, void* data) {
    auto* into = static_cast<Collected*>(data);
    DrawnShape shape{.agent = into->owner == Owner::agent};
    for (std::size_t i = 0; i < shape.corners.size(); ++i) shape.corners[i] = point(vertices[i]);
    into->shapes->push_back(shape);
  };
  options.drawFatSegment = [](cpVect, cpVect, cpFloat, cpSpaceDebugColor, cpSpaceDebugColor,
                              void*) {};  // the walls never move
  options.drawSegment = [](cpVect from, cpVect to, cpSpaceDebugColor, void* data) {
    static_cast<Collected*>(data)->marks->push_back({point(from), point(to)});
  };
  cpSpaceDebugDraw(impl_->space, &options);
}

}  // namespace orrery::pusht
