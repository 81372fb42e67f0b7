#include "base/markup.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(Markup, EscapesWhatMarkupReads) {
  EXPECT_EQ(escaped("a <b> & \"c\"\n\x01'd'"), "a &lt;b&gt; &amp; &quot;c&quot;  'd'");
  EXPECT_EQ(escaped("caf\xc3\xa9"), "caf\xc3\xa9");  // bytes above 127 are UTF-8's
  EXPECT_EQ(escaped(""), "");
}

}  // namespace
}  // namespace orrery
