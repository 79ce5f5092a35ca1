/* What has to be said to htmx before it begins. Its own <style> and scripts inside fragments are not allowed by the
   Content-Security-Policy, and are not needed: theme.css has the rules, and fragments hold no scripts. */
htmx.config.includeIndicatorStyles = false;
htmx.config.allowScriptTags = false;
htmx.config.selfRequestsOnly = true;
