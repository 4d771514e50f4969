//! A goal state as a value, and the two XML documents in which the wire server tells it.

use serde_json::{Value, json};

use super::{Cloud, STORAGE};

/// What is wanted of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is to be there and to run.
    Enabled,
    /// It is to stand still; only older goal states ask for it.
    Disabled,
    /// It is to go away.
    Uninstall,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Uninstall => "uninstall",
        }
    }
}

/// What a goal state says about an extension's settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// There are none: the agent writes an empty `0.settings`.
    Absent,
    /// These public settings, with this sequence number.
    Public(u32, Value),
}

/// One extension in a goal state.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// `<publisher>.<type>`.
    pub name: String,
    /// The version, exactly.
    pub version: String,
    /// What is wanted of it.
    pub state: State,
    /// Its settings.
    pub settings: Settings,
    /// Extensions of a higher level wait for those of the lower ones.
    pub level: u32,
}

impl Plugin {
    /// An extension that is to run with these settings.
    #[must_use]
    pub fn enabled(name: &str, version: &str, sequence: u32, public: Value) -> Self {
        let settings = Settings::Public(sequence, public);
        Self { name: name.to_owned(), version: version.to_owned(), state: State::Enabled, settings, level: 0 }
    }

    /// The same extension, of which something else is wanted.
    #[must_use]
    pub fn to_be(self, state: State) -> Self {
        Self { state, ..self }
    }

    /// The same extension with these settings.
    #[must_use]
    pub fn with(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// The same extension in another version.
    #[must_use]
    pub fn of_version(self, version: &str) -> Self {
        Self { version: version.to_owned(), ..self }
    }

    /// The same extension on this level.
    #[must_use]
    pub fn on_level(self, level: u32) -> Self {
        Self { level, ..self }
    }

    /// The element that says which package is wanted.
    fn element(&self) -> String {
        format!(
            r#"<Plugin name="{name}" version="{version}" location="http://{STORAGE}/{name}/manifest.xml" state="{state}" autoUpgrade="false" runAsStartupTask="false" isJson="true" useExactVersion="true" />"#,
            name = self.name,
            version = self.version,
            state = self.state.name(),
        )
    }

    /// The element with the settings.
    fn settings_element(&self) -> String {
        let Settings::Public(sequence, public) = &self.settings else {
            return String::new();
        };
        let settings = json!({"runtimeSettings": [{"handlerSettings": {"publicSettings": public}}]});
        let depends = match self.level {
            0 => String::new(),
            level => format!(r#"<DependsOn dependencyLevel="{level}" />"#),
        };
        format!(
            r#"<Plugin name="{}" version="{}">{depends}<RuntimeSettings seqNo="{sequence}">{}</RuntimeSettings></Plugin>"#,
            self.name,
            self.version,
            escape(&settings.to_string()),
        )
    }
}

/// The goal state itself: its number and where its parts are.
pub(super) fn goal_state(cloud: &Cloud) -> String {
    let part = |name: &str| format!("http://168.63.129.16/machine/c1/i1?comp=config&amp;type={name}");
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<GoalState><Version>2012-11-30</Version><Incarnation>{incarnation}</Incarnation>
<Machine><ExpectedState>Started</ExpectedState></Machine>
<Container><ContainerId>c1</ContainerId><RoleInstanceList><RoleInstance><InstanceId>i1</InstanceId><State>Started</State>
<Configuration>
<HostingEnvironmentConfig>{environment}</HostingEnvironmentConfig>
<SharedConfig>{shared}</SharedConfig>
<ExtensionsConfig>{extensions}</ExtensionsConfig>
<FullConfig>{shared}</FullConfig>
<ConfigName>d1.{incarnation}.d1.r1.xml</ConfigName>
</Configuration></RoleInstance></RoleInstanceList></Container></GoalState>"#,
        incarnation = cloud.incarnation,
        environment = part("hostingEnvironmentConfig"),
        shared = part("sharedConfig"),
        extensions = part("extensionsConfig"),
    )
}

/// The extensions of the goal state.
pub(super) fn extensions(cloud: &Cloud) -> String {
    let incarnation = cloud.incarnation;
    let plugins: String = cloud.goal.iter().map(Plugin::element).collect();
    let settings: String = cloud.goal.iter().map(Plugin::settings_element).collect();
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<Extensions version="1.0.0.0" goalStateIncarnation="{incarnation}">
<GuestAgentExtension xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><GAFamilies /></GuestAgentExtension>
<Plugins>{plugins}</Plugins><PluginSettings>{settings}</PluginSettings>
<StatusUploadBlob statusBlobType="BlockBlob">http://{STORAGE}/status</StatusUploadBlob>
<InVMGoalStateMetaData inSvdSeqNo="{incarnation}" createdOnTicks="637405409304121230" activityId="555e551c-600e-4fb4-90ba-8ab8ec28eccc" correlationId="400de90b-522e-491f-9d89-ec944661f531" />
</Extensions>"#
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
